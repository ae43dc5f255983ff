package event_test

import (
	"fmt"
	"testing"

	"github.com/drivetrain-go/drivetrain/framework/event"
)

func BenchmarkDecode(b *testing.B) {
	for _, actor := range []string{"", "alice"} {
		b.Run(fmt.Sprintf("actor=%q", actor), func(b *testing.B) {
			e := full()
			e.Actor, e.Tenant, e.Subject = actor, "", ""
			header := e.Append(nil)
			var d event.Decoder
			b.SetBytes(int64(len(header)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(header, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	e := full()
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Append(nil)
		}
	})
	b.Run("reused", func(b *testing.B) {
		var header []byte
		b.ReportAllocs()
		for b.Loop() {
			header = e.Append(header[:0])
		}
	})
}

func BenchmarkScoped(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		event.Scoped("018bcfe5-687b-7000-8000-000000000000", "alice", "post/1")
	}
}
