package config

import "testing"

// BenchmarkDecode: StartInstance decodes, and other requests wait for it.
func BenchmarkDecode(b *testing.B) {
	raw := []byte("{" + issuer + `,"auth_methods":["client_credentials"],"client_id":["kong"]}`)
	for b.Loop() {
		if _, _, err := Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
