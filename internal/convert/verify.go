package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
)

// ErrVerify: what was read back is not what should have been written.
var ErrVerify = errors.New("verification failed")

// Verify opens the image anew after Run and walks the converted trees: after
// an encryption every inode of the plan must have its context, and every name
// and target must decode under the key; after a decryption none has one.
func Verify(ctx context.Context, home store.Store, p *Plan, o Options) error {
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	o.OutsideLinks = true
	back := &Plan{Op: Decrypt, Tops: p.Tops}
	want := p.Policies
	if p.Op == Rekey {
		want = []policy.Policy{*p.Target}
	}
	if p.Op == Decrypt {
		back = &Plan{Op: Encrypt, Tops: p.Tops, Policies: p.Policies}
	}
	s := newScanner(ctx, fs, back, o)
	s.reading, s.owners = true, nil // whether it could be converted back is not asked
	for _, t := range p.Tops {
		scan := s.encryptedTop
		if p.Op == Decrypt {
			scan = s.encryptTop
		}
		if err := scan(t); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrVerify, t.Path, err)
		}
	}
	if _, err := s.finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	if p.Op != Decrypt && !slices.Equal(want, back.Policies) {
		return fmt.Errorf("%w: the trees do not have the policy they should have", ErrVerify)
	}
	return sameInodes(p, back)
}

// sameInodes compares what was converted with what could be converted back.
func sameInodes(p, back *Plan) error {
	found := sortedInodes(back)
	for _, ino := range sortedInodes(p) {
		for len(found) > 0 && found[0] < ino {
			found = found[1:]
		}
		if len(found) == 0 || found[0] != ino {
			return fmt.Errorf("%w: inode %d does not have its new form", ErrVerify, ino)
		}
	}
	return nil
}

func sortedInodes(p *Plan) []image.Ino {
	out := make([]image.Ino, len(p.items))
	for i, it := range p.items {
		out[i] = it.ino
	}
	slices.Sort(out)
	return out
}
