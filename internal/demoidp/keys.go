package demoidp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	jose "github.com/go-jose/go-jose/v4"
)

// Key signs tokens. Make one with NewKey, or as a literal to have another size or another id.
type Key struct {
	ID     string
	Alg    string        // what it is for: RS256 … EdDSA, or HS256 to HS512
	Signer crypto.Signer // *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey
	Secret []byte        // for HS*, instead of Signer
}

// NewKey makes a key that no provider publishes, 2048 bits where it is RSA, of any asymmetric
// algorithm of Client.Alg.
func NewKey(alg string) (*Key, error) { return newKey(alg, nil) }

// newKey takes shared where alg wants an RSA key and it is there already: making one costs 40 ms
// and more.
func newKey(alg string, shared *rsa.PrivateKey) (*Key, error) {
	k := &Key{ID: strings.ToLower(alg) + "-" + rand.Text()[:8], Alg: alg}
	var err error
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		if shared == nil {
			shared, err = rsa.GenerateKey(rand.Reader, 2048)
		}
		k.Signer = shared
	case "ES256":
		k.Signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.Signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		k.Signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, k.Signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("demoidp: no keys for algorithm %q", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("demoidp: key for %s: %w", alg, err)
	}
	return k, nil
}

// JWK returns the public key as a JSON Web Key; of an HS* key, the secret.
func (k *Key) JWK() (json.RawMessage, error) {
	raw, err := json.Marshal(k.jwk())
	if err != nil {
		return nil, fmt.Errorf("demoidp: key %s: %w", k.ID, err)
	}
	return raw, nil
}

func (k *Key) jwk() jose.JSONWebKey {
	j := jose.JSONWebKey{KeyID: k.ID, Algorithm: k.Alg, Use: "sig", Key: k.Secret}
	if k.Signer != nil {
		j.Key = k.Signer.Public()
	}
	return j
}

// keyring holds the keys that sign and those that are published.
type keyring struct {
	algs []string

	mu        sync.Mutex // guards all that follows
	signing   map[string]*Key
	published []*Key
}

// newKeyring makes a key for each of the four usual algorithms and for those of the clients.
func newKeyring(clients []Client) (*keyring, error) {
	r := &keyring{algs: []string{"RS256", "PS256", "ES256", "EdDSA"}}
	for _, c := range clients {
		if c.Alg != "" && !slices.Contains(r.algs, c.Alg) {
			r.algs = append(r.algs, c.Alg)
		}
	}
	return r, r.rotate(Rotation{})
}

// Rotation says how keys change.
type Rotation struct {
	DropOld    bool // the old public keys leave the key set at once; else tokens that they signed still verify
	SameKeyIDs bool // the new keys take over the old ones' ids, which then belong to other keys; implies DropOld
}

// RotateKey makes new keys for all algorithms, publishes them and signs with them from now on. Keys
// that were added with Publish stay.
func (s *Server) RotateKey(r Rotation) error {
	if err := s.keys.rotate(r); err != nil {
		return err
	}
	s.logger.Info("demo identity provider has new keys", "drop_old", r.DropOld, "same_key_ids", r.SameKeyIDs)
	return nil
}

func (r *keyring) rotate(how Rotation) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("demoidp: RSA key: %w", err)
	}
	fresh := map[string]*Key{}
	for _, alg := range r.algs {
		if fresh[alg], err = newKey(alg, rsaKey); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, alg := range r.algs {
		old := r.signing[alg]
		if old != nil && how.SameKeyIDs {
			fresh[alg].ID = old.ID
		}
		if how.DropOld || how.SameKeyIDs {
			r.published = slices.DeleteFunc(r.published, func(k *Key) bool { return k == old })
		}
		r.published = append(r.published, fresh[alg])
	}
	r.signing = fresh
	return nil
}

// Publish adds keys to the key set; the provider does not sign with them.
func (s *Server) Publish(keys ...*Key) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.published = append(s.keys.published, keys...)
}

// Key returns the key that signs with alg now.
func (s *Server) Key(alg string) (*Key, error) { return s.keys.current(alg) }

func (r *keyring) current(alg string) (*Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.signing[alg]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("demoidp: the provider has no key for %q", alg)
}

func (r *keyring) jwks() *jose.JSONWebKeySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range r.published {
		set.Keys = append(set.Keys, k.jwk())
	}
	return set
}

// JWKS returns the key set as the provider serves it now.
func (s *Server) JWKS() json.RawMessage { return jsonAnswer(200, s.keys.jwks()).body }
