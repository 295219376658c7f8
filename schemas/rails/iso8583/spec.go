package iso8583

import (
	moov "github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/padding"
	"github.com/moov-io/iso8583/prefix"
)

// fieldMax is the last field that two bitmaps can name.
const fieldMax = 128

// specification gives the table to moov. Its own Spec87ASCII is no use here: it always writes a second bitmap without
// saying so in bit 1, and knows neither 70 nor 95, 100 and above. Every field is text to it; what may stand in it is checked
// here, where an error says nothing of the content.
func specification(all []element) *moov.MessageSpec {
	spec := &moov.MessageSpec{
		Name: "Caudal card authorization feed, ISO 8583:1987 ASCII",
		Fields: map[int]field.Field{
			0: field.NewString(&field.Spec{Length: 4, Description: "MTI", Enc: encoding.ASCII, Pref: prefix.ASCII.Fixed}),
			1: field.NewBitmap(&field.Spec{Length: 8, Description: "bitmap", Enc: encoding.BytesToASCIIHex, Pref: prefix.Hex.Fixed}),
		},
	}
	for i := range all {
		e := &all[i]
		shape := &field.Spec{Length: e.length, Description: e.name, Enc: encoding.ASCII, Pref: prefix.ASCII.Fixed}
		switch e.prefix {
		case 2:
			shape.Pref = prefix.ASCII.LL
		case 3:
			shape.Pref = prefix.ASCII.LLL
		}
		if e.padded {
			shape.Pad = padding.Right(' ')
		}
		spec.Fields[e.id] = field.NewString(shape)
	}
	return spec
}
