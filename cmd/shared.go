package cmd

import (
	"errors"
	"fmt"

	"fsenc/internal/convert"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/tree"
	"fsenc/internal/txn"
)

// addTwins takes along what the trees are in snapshots of their subvolumes.
func (v *conversion) addTwins() error {
	sharing, ok := v.fs.(image.Sharing)
	if !ok {
		return nil
	}
	known := make(map[image.Ino]bool)
	for _, t := range v.tops {
		known[t.Ino] = true
	}
	for _, t := range v.tops {
		twins, err := sharing.Twins(t.Ino)
		if err != nil {
			return atPath(t.Path, err)
		}
		for _, ino := range twins {
			if !known[ino] {
				known[ino] = true
				v.tops = append(v.tops, convert.Top{Path: fmt.Sprintf("%s (inode %d, in a snapshot)", t.Path, ino), Ino: ino})
			}
		}
	}
	return nil
}

// unshare gives the trees copies of what they share with others, and plans anew.
func (v *conversion) unshare() error {
	if len(v.plan.Shared) == 0 {
		return nil
	}
	newLog := func() (store.Store, error) { return createLog(v.log) }
	if v.copy != nil {
		newLog = nil
	}
	err := convert.Unshare(v.app.ctx, v.home, v.plan, newLog, func(log store.Store, err error) error {
		file := log.(*txn.LogFile)
		if err != nil {
			return v.app.beginFailed(file, err)
		}
		v.app.wrote = true
		return file.Remove()
	})
	if err != nil {
		return err
	}
	fs, err := probe.Open(v.home, probe.Options{Write: true})
	if err != nil {
		return err
	}
	v.tree.Close()
	v.fs, v.tree = fs, tree.New(fs, v.ring)
	journal := v.plan.Journal
	if v.plan, err = v.make(v.fs, v.tops, v.opts); err != nil {
		return v.app.refusals(err)
	}
	v.plan.Journal = journal
	if len(v.plan.Shared) > 0 {
		return errors.New("extents are shared even after they were copied")
	}
	return nil
}
