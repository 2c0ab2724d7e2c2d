package cmd

import (
	"errors"
	"fmt"

	"fsenc/internal/convert"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/txn"
)

// openWriting opens an image to change it, with the raw keys that were given.
func (a *app) openWriting(path string, k *keyFlags) (*access, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	keys, err := a.masterKeys(k)
	if err != nil {
		return nil, err
	}
	img, err := a.openImage(path, probe.Options{Write: true})
	if err != nil {
		wipeKeys(keys)
		return nil, err
	}
	return a.accessTo(img, k, keys), nil
}

// inlineFiles lists the files with encrypted contents inside of their inodes,
// and makes sure that there is room for their blocks and a key for each.
func (x *access) inlineFiles() ([]image.Ino, error) {
	l, err := convert.FindInline(x.app.ctx, x.fs)
	if err != nil {
		return nil, err
	}
	for _, p := range l.Policies {
		if _, err := x.ring.For(p); err == nil {
			continue
		}
		if err := x.unlockPolicy(p); err != nil && !errors.Is(err, errNoMetadata) {
			return nil, err
		}
		if _, err := x.ring.For(p); err != nil {
			return nil, &hinted{fmt.Errorf("contents of %s have to move into blocks: %w", plural(uint64(len(l.Inodes)), "file"), err),
				"give the keys with --key-file, or unlock them with --protector"}
		}
	}
	return l.Inodes, nil
}

// moveOut moves their contents into blocks.
func (x *access) moveOut(files []image.Ino) error {
	path, err := logPath(x.path, "")
	if err != nil {
		return err
	}
	newLog := func() (store.Store, error) { return createLog(path) }
	return convert.MoveOut(x.app.ctx, x.home, files, x.ring, newLog, func(log store.Store, err error) error {
		file := log.(*txn.LogFile)
		if err != nil {
			return x.app.beginFailed(file, err)
		}
		x.app.wrote = true
		return errors.Join(err, file.Remove())
	})
}
