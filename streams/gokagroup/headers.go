package gokagroup

import (
	"maps"
	"reflect"
	"slices"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// emitHeaders reads what goka.WithCtxEmitHeaders said. Goka names the type that its options change only inside; inference
// makes a value of it all the same, and reflection reads the field. A test notices if Goka changes it.
func emitHeaders[T any, O ~func(*T)](options []O) goka.Headers {
	if len(options) == 0 {
		return nil
	}
	said := new(T)
	for _, o := range options {
		o(said)
	}
	field := reflect.ValueOf(said).Elem().FieldByName("emitHeaders")
	headers := make(goka.Headers, field.Len())
	for entry := field.MapRange(); entry.Next(); {
		headers[entry.Key().String()] = entry.Value().Bytes()
	}
	return headers
}

// recordHeaders puts headers into the order of their names, so that the same callback writes the same record.
func recordHeaders(headers goka.Headers) []kgo.RecordHeader {
	list := make([]kgo.RecordHeader, 0, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		list = append(list, kgo.RecordHeader{Key: name, Value: headers[name]})
	}
	return list
}
