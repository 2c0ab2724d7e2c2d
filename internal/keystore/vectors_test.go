package keystore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// The vectors are metadata files that fscrypt 0.3.3 and the packages of 0.3.6
// wrote, with the keys inside.

type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) (err error) {
	var s string
	if err = json.Unmarshal(b, &s); err == nil {
		*h, err = hex.DecodeString(s)
	}
	return err
}

type policyVector struct {
	File     hexBytes `json:"file"`
	FileName string   `json:"file_name"`
	Options  struct {
		Contents, Filenames, Padding int
		PolicyVersion                int `json:"policy_version"`
	}
	PolicyKey  hexBytes `json:"policy_key"`
	Protectors []string
}

type protectorVector struct {
	File     hexBytes `json:"file"`
	FileName string   `json:"file_name"`
	Name     string
	Source   string
	UID      int64
	Costs    struct {
		Time            int64
		MemoryKiB       int64 `json:"memory_kib"`
		Parallelism     int64
		TruncationFixed bool `json:"truncation_fixed"`
	}
	Salt         hexBytes
	Passphrase   hexBytes
	RawKey       hexBytes `json:"raw_key"`
	ProtectorKey hexBytes `json:"protector_key"`
	WrappingKey  hexBytes `json:"wrapping_key"`
}

func (v *protectorVector) secret() []byte { return append(bytes.Clone(v.Passphrase), v.RawKey...) }

type vector struct {
	ID         string
	Policies   []policyVector
	Protectors []protectorVector
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/google_fscrypt.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 6 {
		t.Fatalf("%d vectors", len(file.Vectors))
	}
	return file.Vectors
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loose is a Store that is not about any image.
func loose() *Store { return &Store{Limits: DefaultLimits()} }

func TestProtectorVectors(t *testing.T) {
	for _, v := range vectors(t) {
		for _, pv := range v.Protectors {
			t.Run(v.ID+"/"+pv.FileName, func(t *testing.T) {
				p, err := parseProtector(pv.File)
				must(t, err)
				want := Costs{pv.Costs.Time, pv.Costs.MemoryKiB, pv.Costs.Parallelism, pv.Costs.TruncationFixed}
				if p.ID != pv.FileName || p.Name != pv.Name || p.Source.String() != pv.Source || p.UID != pv.UID ||
					p.Costs != want || !bytes.Equal(p.salt, pv.Salt) {
					t.Errorf("read %+v", p)
				}
				testProtectorKeys(t, p, &pv)
				testProtectorBytes(t, p, &pv)
			})
		}
	}
}

func testProtectorKeys(t *testing.T, p *Protector, pv *protectorVector) {
	wrapping, err := loose().wrappingKey(p, pv.secret())
	must(t, err)
	defer wrapping.Wipe()
	if !bytes.Equal(wrapping.Bytes(), pv.WrappingKey) {
		t.Errorf("wrapping key %x, want %x", wrapping.Bytes(), pv.WrappingKey)
	}
	u, err := loose().UnlockProtector(p, pv.secret())
	must(t, err)
	defer u.Wipe()
	if !bytes.Equal(u.key.Bytes(), pv.ProtectorKey) {
		t.Errorf("key %x, want %x", u.key.Bytes(), pv.ProtectorKey)
	}
	if id := protectorID(u.key.Bytes()); id != p.ID {
		t.Errorf("descriptor of the key is %s, want %s", id, p.ID)
	}
	wrong := pv.secret()
	wrong[0] ^= 1
	for _, secret := range [][]byte{wrong, wrong[1:], {}} {
		_, err = loose().UnlockProtector(p, secret)
		if !errors.Is(err, ErrWrongSecret) || !errors.Is(err, crypt.ErrWrongKey) {
			t.Errorf("wrong secret of %d bytes: %v", len(secret), err)
		}
	}
}

// Byte for byte: as read, with all fields written over it, and made anew.
func testProtectorBytes(t *testing.T, p *Protector, pv *protectorVector) {
	if got := p.msg.bytes(); !bytes.Equal(got, pv.File) {
		t.Errorf("as read %x, want %x", got, pv.File)
	}
	same, err := p.encode()
	must(t, err)
	if !bytes.Equal(same, pv.File) {
		t.Errorf("written over %x, want %x", same, pv.File)
	}
	w, err := wrapWith(pv.WrappingKey, pv.ProtectorKey, p.wrapped.iv)
	must(t, err)
	anew := &Protector{ID: p.ID, Source: p.Source, Name: p.Name, UID: p.UID, Costs: p.Costs, salt: p.salt, wrapped: w}
	got, err := anew.encode()
	must(t, err)
	if !bytes.Equal(got, pv.File) {
		t.Errorf("made anew %x, want %x", got, pv.File)
	}
}

func TestPolicyVectors(t *testing.T) {
	for _, v := range vectors(t) {
		unlocked := map[string]*Unlocked{}
		for _, pv := range v.Protectors {
			p, err := parseProtector(pv.File)
			must(t, err)
			u, err := loose().UnlockProtector(p, pv.secret())
			must(t, err)
			defer u.Wipe()
			unlocked[p.ID] = u
		}
		for _, pv := range v.Policies {
			t.Run(v.ID+"/"+pv.FileName, func(t *testing.T) { testPolicy(t, &pv, unlocked) })
		}
	}
}

func testPolicy(t *testing.T, pv *policyVector, unlocked map[string]*Unlocked) {
	p, err := parsePolicy(pv.File)
	must(t, err)
	o := pv.Options
	want := Options{o.PolicyVersion, policy.Mode(o.Contents), policy.Mode(o.Filenames), o.Padding}
	if p.ID != pv.FileName || p.Options != want || len(p.Protectors()) != len(pv.Protectors) {
		t.Errorf("read %+v, protectors %v", p, p.Protectors())
	}
	if pol := p.Policy(); pol.KeySpec() != p.ID || pol.Padding() != o.Padding || int(pol.Version) != o.PolicyVersion {
		t.Errorf("policy %+v", pol)
	} else if direct := pol.Method() == policy.DirectKey; direct != (o.Contents == 9) {
		t.Errorf("modes %d and %d give %v", o.Contents, o.Filenames, pol.Method())
	}
	if got := p.msg.bytes(); !bytes.Equal(got, pv.File) {
		t.Errorf("as read %x, want %x", got, pv.File)
	}
	anew := &Policy{ID: p.ID}
	anew.msg.setData(numPolicyID, []byte(p.ID))
	anew.msg.setData(numOptions, p.Options.bytes())
	for i, id := range pv.Protectors {
		u := unlocked[id]
		key, err := loose().UnlockPolicy(p, u)
		must(t, err)
		if !bytes.Equal(key.Raw(), pv.PolicyKey) {
			t.Errorf("key under %s is %x, want %x", id, key.Raw(), pv.PolicyKey)
		}
		w, err := wrapWith(u.key.Bytes(), key.Raw(), p.keys[i].wrapped.iv)
		must(t, err)
		anew.addKey(wrappedPolicyKey{id, w})
		key.Wipe()
	}
	if got := anew.msg.bytes(); !bytes.Equal(got, pv.File) {
		t.Errorf("made anew %x, want %x", got, pv.File)
	}
}

// A key that is wrapped right but belongs to another policy does not get out.
func TestUnlockPolicyChecksIdentifier(t *testing.T) {
	v := vectors(t)[0]
	p, err := parseProtector(v.Protectors[0].File)
	must(t, err)
	u, err := loose().UnlockProtector(p, v.Protectors[0].secret())
	must(t, err)
	defer u.Wipe()
	for _, id := range []string{"94e7509c3b08a8eaccd5e0f5aff9a1a2", "94e7509c3b08a8eaccd5e0f5aff9a1a3"} {
		pol, err := parsePolicy(bytes.Replace(v.Policies[0].File, []byte(v.Policies[0].FileName), []byte(id), 1))
		must(t, err)
		key, err := loose().UnlockPolicy(pol, u)
		if ok := id == v.Policies[0].FileName; ok != (err == nil) {
			t.Errorf("policy %s: error %v", id, err)
		}
		key.Wipe()
	}
}
