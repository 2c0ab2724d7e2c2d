package isa

import "testing"

func TestUse(t *testing.T) {
	sets := Available()
	if sets[0] != Generic {
		t.Fatalf("first set is %v, want generic", sets[0])
	}
	if got := Current(); got != sets[len(sets)-1] {
		t.Errorf("current set is %v, want the last of %v", got, sets)
	}
	best := Current()
	for _, s := range sets {
		restore := Use(s)
		if Current() != s {
			t.Errorf("after Use(%v) the set is %v", s, Current())
		}
		restore()
		if Current() != best {
			t.Errorf("restore after Use(%v) left %v", s, Current())
		}
	}
	t.Logf("sets here: %v", sets)
}

func TestUseRefusesMissing(t *testing.T) {
	for s := range Set(len(setNames)) {
		missing := true
		for _, have := range Available() {
			missing = missing && have != s
		}
		if !missing {
			continue
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Use(%v) did not panic", s)
				}
			}()
			Use(s)
		}()
	}
}
