package cache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
)

// Key names an entry. It is an HMAC, so it tells nothing of the secrets that went into it, and
// whoever chooses the fields cannot choose the key.
type Key [sha256.Size]byte

// Keyer makes keys. Make it with NewKeyer; copies are the same Keyer. It is safe for concurrent
// use.
type Keyer struct {
	states *sync.Pool // of *keyState
}

type keyState struct {
	mac hash.Hash
	buf []byte // empty between keys, and its room cleared
}

// maxKept is the size from which on a buffer is not kept for the next key: one long token would
// stay in memory for ever.
const maxKept = 4 << 10

// NewKeyer returns a Keyer for secret. Keyers with the same secret make the same keys; an empty
// secret stands for a random one, made anew at each call.
func NewKeyer(secret []byte) Keyer {
	own := append([]byte(nil), secret...)
	if len(own) == 0 {
		own = make([]byte, sha256.Size)
		rand.Read(own) // never fails, see its documentation
	}
	return Keyer{states: &sync.Pool{New: func() any {
		return &keyState{mac: hmac.New(sha256.New, own), buf: make([]byte, 0, 512)}
	}}}
}

// Key returns the HMAC-SHA-256 of kind and fields, each behind its length in eight bytes, so that
// no two different lists are one message. Bytes count as they are: case and Unicode normal forms
// differ.
func (k Keyer) Key(kind string, fields ...string) Key {
	st := k.states.Get().(*keyState)
	size := 8 + len(kind)
	for _, f := range fields {
		size += 8 + len(f)
	}
	b := slices.Grow(st.buf, size) // in one step: what append leaves behind would hold secrets
	b = appendField(b, kind)
	for _, f := range fields {
		b = appendField(b, f)
	}
	st.mac.Write(b)
	clear(b)
	key := Key(st.mac.Sum(b[:0]))
	st.mac.Reset()
	if cap(b) <= maxKept {
		st.buf = b[:0]
	}
	k.states.Put(st)
	return key
}

func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}
