package pluginserver

// Member is one member of a message that Kong's side reads by its numbers. Bytes points into the
// message.
type Member struct {
	Number int
	Value  uint64 // of a varint, or the bits of a double
	Bytes  []byte // of a string or a message within the message
}

// DecodeMembers reads a message that has no decoder of its own here, in the order in which it was
// written.
func DecodeMembers(b []byte) ([]Member, error) {
	var out []Member
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		b = rest
		out = append(out, Member{Number: int(f.num), Value: f.number, Bytes: f.bytes})
	}
	return out, nil
}
