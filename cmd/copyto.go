package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"fsenc/internal/convert"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
)

// copyTarget is a new image that comes to be from an old one.
type copyTarget struct {
	path    string // its name in the end
	file    *store.File
	derived *store.Derived
}

// partSuffix ends the name of a copy that is not complete.
const partSuffix = ".part"

// openCopy opens an image for reading and the new file that gets the result.
// What is written goes to the new file; what is not, is copied in the end.
func (a *app) openCopy(path, to string, o probe.Options) (*opened, error) {
	if _, err := os.Lstat(to); err == nil {
		return nil, usagef("--copy-to: %s is there already", to)
	}
	img, err := a.openStore(path, false)
	if err != nil {
		return nil, err
	}
	part, err := store.CreateFile(to+partSuffix, img.file.Size())
	if errors.Is(err, fs.ErrExist) {
		err = &hinted{err, "it is of a copy that was killed, unless one is being made right now: rm " + operand(to+partSuffix)}
	}
	if err != nil {
		img.Close()
		return nil, err
	}
	img.copy = &copyTarget{path: to, file: part, derived: store.NewDerived(img.file, part)}
	if err = a.window(img, img.copy.derived); err == nil {
		img.fs, err = a.probe(img, o)
	}
	if err != nil {
		img.Close()
		return nil, err
	}
	return img, nil
}

// abandon removes what there is of a copy that was not completed.
func (c *copyTarget) abandon() {
	if c != nil && c.file != nil {
		// It never had its final name; a leftover is found by the next try.
		_ = c.file.Drop()
		c.file = nil
	}
}

// convertCopy converts into the new file, completes it and gives it its name.
// The old image is only read, so there is nothing to resume or undo.
func (v *conversion) convertCopy() error {
	c, err := convert.BeginCopy(v.home, v.plan, v.ring)
	if err != nil {
		return err
	}
	if err := v.app.show(c, convert.Forward); err != nil {
		return fmt.Errorf("%w: the copy is dropped, %s is as it was", err, v.path)
	}
	if err := v.copy.derived.Finish(); err != nil {
		return err
	}
	state, err := v.verify()
	if err != nil {
		return err
	}
	if err := v.copy.file.Publish(v.copy.path); err != nil {
		return err
	}
	v.copy.file = nil
	return v.result(state)
}
