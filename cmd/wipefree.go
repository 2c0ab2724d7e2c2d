package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"fsenc/internal/image/probe"
	"fsenc/internal/wipe"
)

func newWipeFree(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "wipe-free IMAGE",
		GroupID: groupConvert,
		Short:   "Zero everything in an image that no file uses",
		Long: "Zero what may hold remains of deleted or converted files: free blocks, free inode\n" +
			"slots, the log of the filesystem's journal, blocks that a file has and never wrote,\n" +
			"and what follows the end of unencrypted files in their last block. An image file\n" +
			"gets holes where that is 64 KiB or more in a piece, and takes less space. No file\n" +
			"and no name changes.\n\n" +
			"Only zeros are written, where nothing reads: an interruption at any point leaves a\n" +
			"sound filesystem, and there is nothing to resume. Run it again to wipe the rest.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.wipeFree(args[0]) },
	}
}

// jsonWiped is the result of wipe-free in JSON.
type jsonWiped struct {
	header
	Image    string `json:"image"`
	DryRun   bool   `json:"dry_run"`
	Examined int64  `json:"examined_bytes"`
	Zeroed   int64  `json:"zeroed_bytes"`
	Released int64  `json:"released_bytes"` // by the image file to its own filesystem
}

func (a *app) wipeFree(path string) error {
	img, err := a.openImage(path, probe.Options{Write: true})
	if err != nil {
		return err
	}
	defer img.Close()
	if !a.flags.dryRun {
		if err := a.confirm("Zero all free space of " + escapeString(path) + "? Deleted files cannot be recovered then."); err != nil {
			return err
		}
	}
	before := diskUsage(path)
	m := a.newMeter()
	a.wrote = !a.flags.dryRun
	res, err := wipe.Free(a.ctx, img.fs, img.home, wipe.Options{
		DryRun:   a.flags.dryRun,
		Progress: func(r wipe.Result) { m.update(tick{Phase: "wipe", Bytes: r.Examined}) },
	})
	m.finish()
	if errors.Is(err, context.Canceled) && !a.flags.dryRun {
		return &hinted{fmt.Errorf("%w: interrupted after %s; no file is touched", errPartial, iec(res.Zeroed)),
			"run fsenc wipe-free IMAGE again to wipe the rest"}
	}
	if err != nil {
		return err
	}
	return a.wiped(jsonWiped{headerOf("wipe-free"), path, a.flags.dryRun, res.Examined, res.Zeroed, before - diskUsage(path)})
}

// diskUsage is how many bytes of its filesystem a file takes; 0 for a device
// or where that is not known, which is told as nothing released.
func diskUsage(path string) int64 {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return 0
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return sys.Blocks * 512
}

func (a *app) wiped(r jsonWiped) error {
	if a.json() {
		return a.emit(r)
	}
	verb := "zeroed"
	if r.DryRun {
		verb = "would have zeroed"
	}
	_, err := fmt.Fprintf(a.out, "%s %s of %s that no file uses\n", verb, exact(r.Zeroed), exact(r.Examined))
	if r.Released > 0 {
		_, err = fmt.Fprintf(a.out, "the image takes %s less space\n", iec(r.Released))
	}
	return err
}
