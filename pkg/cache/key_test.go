package cache

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
)

// TestKeyerTellsListsApart is row 40 of security.md: each pair could be one key to a hash without
// lengths, or to one that normalises.
func TestKeyerTellsListsApart(t *testing.T) {
	lists := [][]string{
		{"k", "a", "bc"},
		{"k", "ab", "c"},
		{"k", "abc"},
		{"k", "abc", ""},
		{"k", "", "abc"},
		{"k", "a", "b", "c"},
		{"ka", "bc"},
		{"kab", "c"},
		{"kabc"},
		{"", "kabc"},
		{"k"},
		{""},
		{"", ""},
		{"k", "a\x00", "bc"},
		{"k", "a", "\x00bc"},
		{"k", "a\x00bc"},
		{"k", "a|", "bc"},
		{"k", "a", "|bc"},
		{"k", "a|bc"},
		{"k", "a\x00\x00\x00\x00\x00\x00\x00\x02bc"},
		{"k", "a", "\x00\x00\x00\x00\x00\x00\x00\x02bc"}, // a length spelt out
		{"k", "\u00e9"},
		{"k", "e\u0301"},
		{"k", "E\u0301"},
		{"k", "\xe9"}, // é composed, decomposed, upper case, Latin-1
		{"k", "A", "bc"},
		{"k", " a", "bc"},
		{"k", "a ", "bc"},
		{"k", "bc", "a"},
		{"k", strings.Repeat("x", 4096)},
		{"k", strings.Repeat("x", 8192)},
		{"k", strings.Repeat("x", 8193)},
	}
	keyer := NewKeyer([]byte("salt"))
	seen := map[Key][]string{}
	for _, l := range lists {
		k := keyer.Key(l[0], l[1:]...)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have the same key", other, l)
		}
		seen[k] = l
		if again := keyer.Key(l[0], l[1:]...); again != k {
			t.Errorf("%q: two different keys", l)
		}
	}
}

func TestKeyerIsHMAC(t *testing.T) {
	mac := hmac.New(sha256.New, []byte("salt"))
	msg, err := hex.DecodeString("0000000000000005" + hex.EncodeToString([]byte("token")) + "0000000000000000" + "0000000000000002" + hex.EncodeToString([]byte("id")))
	if err != nil {
		t.Fatal(err)
	}
	mac.Write(msg)
	if got := NewKeyer([]byte("salt")).Key("token", "", "id"); !bytes.Equal(got[:], mac.Sum(nil)) {
		t.Errorf("got %x, want %x", got, mac.Sum(nil))
	}
}

func TestKeyerSecret(t *testing.T) {
	secret := []byte("salt")
	a := NewKeyer(secret)
	before := a.Key("k", "v")
	if NewKeyer([]byte("salt")).Key("k", "v") != before {
		t.Error("the same secret makes other keys")
	}
	if NewKeyer([]byte("pepper")).Key("k", "v") == before {
		t.Error("another secret makes the same keys")
	}
	secret[0] = 'm'
	if NewKeyer([]byte("salt")).Key("k", "v") != a.Key("k", "v") {
		t.Error("the keyer follows changes of the caller's slice")
	}
	if NewKeyer(nil).Key("k", "v") == NewKeyer([]byte{}).Key("k", "v") {
		t.Error("two keyers without a secret make the same keys")
	}
}

// TestKeyerKeepsNoSecret looks into the room of the buffer that the next key uses.
func TestKeyerKeepsNoSecret(t *testing.T) {
	k := NewKeyer(nil)
	st := k.states.New().(*keyState)
	k.states.New = func() any { return st }
	k.Key("kind", "canary-secret")
	if room := st.buf[:cap(st.buf)]; bytes.Contains(room, []byte("canary")) || bytes.Contains(room, []byte("secret")) {
		t.Error("the buffer still holds the secret")
	}
	k.Key("kind", strings.Repeat("x", 2*maxKept))
	if cap(st.buf) > maxKept {
		t.Errorf("a buffer of %d bytes was kept", cap(st.buf))
	}
}

func TestKeyerConcurrent(t *testing.T) {
	k := NewKeyer([]byte("salt"))
	want := k.Key("k", "a", "b")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if k.Key("k", "a", "b") != want {
					t.Error("a wrong key under concurrency")
				}
				k.Key("k", "something", "else")
			}
		})
	}
	wg.Wait()
}

func BenchmarkKey(b *testing.B) {
	k := NewKeyer(nil)
	b.ReportAllocs()
	for b.Loop() {
		k.Key("token", "https://idp.example.com/realms/x", "https://idp.example.com/realms/x/token", "client_secret_basic",
			"service", "cf4c655a-0622-4ce6-a0de-d3353ef0b714", "openid")
	}
}

// FuzzKeyer: two lists have the same key exactly if they are the same list.
func FuzzKeyer(f *testing.F) {
	f.Add("k", "a", "bc", "k", "ab", "c")
	f.Add("", "", "", "", "", "\x00")
	f.Add("k", "x", "y", "k", "x", "y")
	keyer := NewKeyer([]byte("salt"))
	f.Fuzz(func(t *testing.T, k1, a1, b1, k2, a2, b2 string) {
		same := k1 == k2 && a1 == a2 && b1 == b2
		if (keyer.Key(k1, a1, b1) == keyer.Key(k2, a2, b2)) != same {
			t.Errorf("(%q %q %q) and (%q %q %q): same list %v", k1, a1, b1, k2, a2, b2, same)
		}
		if keyer.Key(k1, a1, b1) == keyer.Key(k1, a1) || keyer.Key(k1, a1, b1) == keyer.Key(k1, a1+b1) {
			t.Error("a shorter list has the same key")
		}
	})
}
