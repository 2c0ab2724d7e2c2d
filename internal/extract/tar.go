package extract

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"

	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// ToTar writes the trees at tops to w as a tar archive in PAX format: extended
// attributes as SCHILY.xattr records, holes as zeros. Sockets have no form in
// it and are skipped.
func ToTar(ctx context.Context, t *tree.Tree, tops []tree.Node, w io.Writer, o Options) (Result, error) {
	j := &job{ctx: ctx, t: t, o: o}
	j.sink = &tarSink{job: j, w: tar.NewWriter(w)}
	return j.run(tops)
}

type tarSink struct {
	job *job
	w   *tar.Writer
}

var tarTypes = map[image.FileType]byte{
	image.TypeRegular: tar.TypeReg, image.TypeDirectory: tar.TypeDir, image.TypeSymlink: tar.TypeSymlink,
	image.TypeChar: tar.TypeChar, image.TypeBlock: tar.TypeBlock, image.TypeFifo: tar.TypeFifo,
}

// xattrKeyword writes a name as GNU tar does, since a keyword ends at '='.
var xattrKeyword = strings.NewReplacer("%", "%25", "=", "%3D")

func (s *tarSink) header(e *entry) (*tar.Header, error) {
	kind, ok := tarTypes[e.attr.Type]
	if !ok {
		return nil, fmt.Errorf("a %s has no form in a tar archive", e.attr.Type)
	}
	h := &tar.Header{
		Typeflag: kind, Name: e.rel, Mode: int64(e.attr.Mode & 0o7777), Format: tar.FormatPAX,
		Uid: int(e.attr.UID), Gid: int(e.attr.GID),
		ModTime: e.attr.Mtime, AccessTime: e.attr.Atime, ChangeTime: e.attr.Ctime,
		PAXRecords: map[string]string{},
	}
	if kind == tar.TypeDir {
		h.Name += "/"
	}
	if kind == tar.TypeChar || kind == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(e.attr.RdevMajor), int64(e.attr.RdevMinor)
	}
	for _, x := range e.xattrs {
		h.PAXRecords["SCHILY.xattr."+xattrKeyword.Replace(x.Name)] = string(x.Value)
	}
	return h, nil
}

func (s *tarSink) add(e *entry) error {
	if e.rel == "" {
		return nil
	}
	h, err := s.header(e)
	if err != nil {
		return err
	}
	switch e.attr.Type {
	case image.TypeRegular:
		return s.file(e, h)
	case image.TypeSymlink:
		target, err := s.job.t.Readlink(e.node)
		if err != nil {
			return err
		}
		h.Linkname = string(target)
	}
	return s.write(h)
}

// write adds a header. Only what the archive cannot express is an error of
// the entry; the rest is one of the stream.
func (s *tarSink) write(h *tar.Header) error {
	err := s.w.WriteHeader(h)
	if err == nil || strings.HasPrefix(err.Error(), tar.ErrHeader.Error()) {
		return err
	}
	return errSink{fmt.Errorf("write archive: %w", err)}
}

// file adds a regular file. Once its header is out, what cannot be read must
// be filled with zeros for the rest of the archive to be readable.
func (s *tarSink) file(e *entry, h *tar.Header) error {
	src, err := s.job.t.Open(e.node)
	if err != nil {
		return err
	}
	defer src.Close()
	h.Size = src.Size()
	if err := s.write(h); err != nil {
		return err
	}
	out := &watched{w: s.w, ctx: s.job.ctx}
	n, err := src.WriteTo(out)
	if out.err != nil {
		return errSink{fmt.Errorf("write archive: %w", out.err)}
	}
	if err == nil {
		return nil
	}
	s.job.skip(e.node, fmt.Sprintf("contents from byte %d, which are zeros now", n), err)
	if _, err := io.CopyN(out, zeroReader{}, h.Size-n); err != nil {
		return errSink{fmt.Errorf("write archive: %w", err)}
	}
	return nil
}

// watched tells errors of writing from those of reading, and stops when the
// context is done.
type watched struct {
	w   io.Writer
	ctx context.Context
	err error
}

func (w *watched) Write(p []byte) (int, error) {
	if w.err = w.ctx.Err(); w.err != nil {
		return 0, w.err
	}
	var n int
	n, w.err = w.w.Write(p)
	return n, w.err
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (s *tarSink) link(e *entry, first string) error {
	h, err := s.header(&entry{node: e.node, rel: e.rel, attr: e.attr})
	if err != nil {
		return err
	}
	h.Typeflag, h.Linkname = tar.TypeLink, first
	h.Devmajor, h.Devminor = 0, 0
	return s.write(h)
}

func (s *tarSink) finish() error {
	if err := s.w.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}
