package cmd

import (
	"fsenc/internal/convert"
	"fsenc/internal/image"
)

// edit applies a small change to an image, whole or not at all. With --dry-run
// it is staged and dropped.
func (a *app) edit(img *opened, change func(image.FS) error) error {
	if err := convert.TryEdit(img.home, change); err != nil || a.flags.dryRun {
		return err
	}
	if err := a.ctx.Err(); err != nil {
		return err
	}
	path, err := logPath(img.path, "")
	if err != nil {
		return err
	}
	log, err := createLog(path)
	if err != nil {
		return err
	}
	if err := convert.Edit(img.home, log, change); err != nil {
		return a.beginFailed(log, err)
	}
	a.wrote = true
	return log.Remove()
}
