package cmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"fsenc/internal/convert"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/txn"
)

func newResume(a *app) *cobra.Command {
	return newFinish(a, convert.Forward, &cobra.Command{
		Use:   "resume IMAGE",
		Short: "Finish the conversion that was interrupted",
		Long: "Finish the one conversion of an image that was interrupted, whatever interrupted it.\n" +
			"It needs the key and the journal that lies beside the image. An undo that was\n" +
			"interrupted is turned round.",
	})
}

func newUndo(a *app) *cobra.Command {
	return newFinish(a, convert.Back, &cobra.Command{
		Use:   "undo IMAGE",
		Short: "Roll back the conversion that was interrupted",
		Long: "Bring the tree that an interrupted conversion was about back to what it was. It\n" +
			"needs the key and the journal that lies beside the image. On f2fs and btrfs, which\n" +
			"copy what they change, the remains of a decryption are then zeroed in free space.",
	})
}

// newFinish completes what resume and undo have in common.
func newFinish(a *app, d convert.Direction, c *cobra.Command) *cobra.Command {
	var k keyFlags
	var log string
	c.GroupID = groupConvert
	c.Args = operands("IMAGE")
	c.ValidArgsFunction = completeImage
	c.RunE = func(c *cobra.Command, args []string) error { return a.finish(c.Name(), d, &k, args[0], log) }
	k.register(c.Flags())
	c.Flags().StringVar(&log, "journal", "", "the journal is in `FILE` instead of IMAGE.fsenc")
	return c
}

// finish brings the one unfinished conversion of an image to one of its ends.
func (a *app) finish(command string, d convert.Direction, k *keyFlags, path, log string) error {
	if err := k.check(); err != nil {
		return err
	}
	log, err := logPath(path, log)
	if err != nil {
		return plainOpenError(path, err)
	}
	img, err := a.openStore(path, !a.flags.dryRun)
	if err != nil {
		return err
	}
	defer img.Close()
	file, err := txn.OpenLogFile(log)
	if errors.Is(err, fs.ErrNotExist) {
		return a.noLog(img, log)
	}
	if err != nil {
		return err
	}
	if a.flags.dryRun {
		return errors.Join(file.Close(), a.finished(command, "planned", nil))
	}
	in, outcome, err := convert.Open(img.home, file)
	if err != nil {
		return errors.Join(a.explainLog(err, log), file.Close())
	}
	a.wrote = true
	if in == nil {
		return errors.Join(file.Remove(), a.finished(command, outcomeWord(outcome), nil))
	}
	img.fs = in.FS()
	if err := a.goOn(in, img, k, d, file); err != nil {
		return err
	}
	return a.finished(command, "done", in.Plan())
}

// goOn finds the keys and runs the conversion.
func (a *app) goOn(in *convert.Interrupted, img *opened, k *keyFlags, d convert.Direction, log *txn.LogFile) error {
	keys, err := a.masterKeys(k)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	x := a.accessTo(img, k, keys)
	defer x.ring.Wipe()
	for _, p := range in.Plan().AllPolicies() {
		if _, err := x.ring.For(p); err == nil {
			continue
		}
		if err := x.unlockPolicy(p); err != nil && !errors.Is(err, errNoMetadata) {
			return errors.Join(err, log.Close())
		}
	}
	c, err := in.Resume(x.ring)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	return a.runConversion(c, log, d)
}

// noLog tells an image that waits for its log from one with nothing to do.
func (a *app) noLog(img *opened, log string) error {
	fs, err := probe.Open(img.home, probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	if fs.Unfinished() == ([16]byte{}) {
		return fmt.Errorf("%w: no journal at %s, and the image is not marked", errNothingUnfinished, log)
	}
	return &hinted{
		fmt.Errorf("%w: its journal %s is not there", image.ErrUnfinished, log),
		"bring the journal back, or say with --journal where it is: without it the conversion can be neither finished nor undone. " + lostLog,
	}
}

// errNothingUnfinished: resume and undo have nothing to do.
var errNothingUnfinished = errors.New("no unfinished conversion")

// lostLog is what is left to do without a log.
const lostLog = "If it is lost, put back the image from before the conversion, and see with fsenc extract IMAGE --force=unfinished what can still be read"

// explainLog says what to do about a log that cannot be used.
func (a *app) explainLog(err error, log string) error {
	switch {
	case errors.Is(err, txn.ErrImageOlder):
		return &hinted{err, "put back the image as the conversion left it last: what was done since this copy was made is in neither. " +
			"Or put back the journal of the same moment, or image and no journal from before the conversion"}
	case errors.Is(err, txn.ErrLogOlder):
		return &hinted{err, "put back the journal as the conversion left it last, " + log + ". " +
			"Or put back image and journal of the same moment, or the image from before the conversion"}
	case errors.Is(err, txn.ErrLogForeign):
		return &hinted{err, "check that " + log + " and the image belong together, and that neither was replaced by an older copy"}
	case errors.Is(err, txn.ErrNotLog):
		return &hinted{fmt.Errorf("%w: %s", err, log), "name the journal of the conversion with --journal; this file is left alone"}
	case errors.Is(err, txn.ErrLogVersion):
		return &hinted{err, "use the fsenc that began the conversion, or a newer one"}
	case errors.Is(err, txn.ErrLogDamaged):
		return &hinted{err, "put back " + log + " from an undamaged copy of the same moment: the image is marked and stays as it is. " + lostLog}
	}
	return err
}

// outcomeWord says what became of a log with nothing to go on with.
func outcomeWord(o convert.Outcome) string {
	switch o {
	case convert.Applied:
		return "was done already"
	case convert.RolledBack:
		return "rolled back"
	}
	return "never begun"
}

// finished prints the result of resume and undo.
func (a *app) finished(command, state string, p *convert.Plan) error {
	if a.json() {
		op := ""
		if p != nil {
			op = p.Op.String()
		}
		return a.emit(struct {
			header
			Image     string `json:"image"`
			Operation string `json:"operation,omitempty"`
			State     string `json:"state"`
		}{headerOf(command), a.image, op, state})
	}
	var err error
	switch state {
	case "planned":
		_, err = fmt.Fprintf(a.out, "there is a journal: fsenc %s would go on with it\n", command)
	case "done":
		verb := map[string]string{"resume": "finished", "undo": "undone"}[command]
		_, err = fmt.Fprintf(a.out, "%s: the conversion (%s) is complete, the image is free to use\n", verb, p.Op)
	case "never begun":
		_, err = fmt.Fprintln(a.out, "the conversion never reached the image: its journal is removed, nothing else was to do")
	case "rolled back":
		_, err = fmt.Fprintln(a.out, "rolled back: the change of the metadata had not been made")
	default:
		_, err = fmt.Fprintln(a.out, "everything had been done but the last mark: it is cleared")
	}
	return err
}
