package tree

import "fsenc/internal/image"

// Entry is a directory entry on the way to its Node. It is valid until the
// function it was given to returns.
type Entry struct {
	image.Dirent
	t     *Tree
	dir   *Node
	names *dirNames
}

// Locked reports whether the name stays in no-key form for want of a key. What
// a Node has besides the stored entry is then only how that is shown.
func (e *Entry) Locked() bool { return e.names.encrypted && e.names.cipher == nil }

// Node decrypts the name and makes the path.
func (e *Entry) Node() Node { return e.t.typed(e.names.child(*e.dir, e.Dirent)) }

// Entries is ReadDir for callers that need the Node of few entries.
func (t *Tree) Entries(dir Node, f func(*Entry) error) error {
	d, err := t.use(dir)
	if err != nil {
		return err
	}
	defer d.release()
	e := &Entry{t: t, dir: &dir, names: d}
	var stop error
	err = t.fs.ReadDir(dir.Ino, func(stored image.Dirent) error {
		e.Dirent = stored
		stop = f(e)
		return stop
	})
	if stop != nil {
		return stop
	}
	return dir.wrap(err)
}
