package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/retry"
)

// Mirrors records, for one image, which location to try next for each of its parts. It outlives the Source, which is
// opened again after a stall. The zero value is ready for use.
type Mirrors struct {
	Note func(format string, args ...any) // logs that another location is tried; may be nil

	mu    sync.Mutex
	turns map[string]turn
}

// turn is the location to try next for a part.
type turn struct {
	at     int
	broken bool     // it sent part of a blob before the connection broke
	failed attempts // earlier locations that failed in this round
}

// Part is a kind of part of an image.
type Part string

// Parts of an image.
const (
	manifestPart Part = "manifest"
	Blob         Part = "blob"
	Signatures   Part = "signatures"
)

// turnOf returns the key of a part. The empty digest stands for the pinned manifest or index.
func turnOf(part Part, d digest.Digest) string {
	return strings.TrimSpace(string(part) + " " + d.String())
}

// get returns which of n locations to try next for what, and the errors of those before it.
func (m *Mirrors) get(what string, n int) (at int, failed attempts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.turns[what]; t.at < n {
		return t.at, slices.Clip(t.failed)
	}
	return 0, nil
}

// pass makes the location after at the next one, of n, and records the failures before it.
func (m *Mirrors) pass(what string, at, n int, failed attempts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(what, turn{at: at + 1, failed: failed}, n)
}

// put records a turn. After the last location it starts over, without the recorded failures.
func (m *Mirrors) put(what string, t turn, n int) {
	if m.turns == nil {
		m.turns = make(map[string]turn)
	}
	if t.at == n {
		t = turn{}
	}
	m.turns[what] = t
}

// broke selects the next location after a broken connection, but the same one the first time that it breaks after
// sending data. It returns the location to try next, or -1 if there is only one or all have been tried.
func (m *Mirrors) broke(what string, at, n int, moved bool, why attempt) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.turns[what]
	if t.at != at || n == 1 {
		return -1
	}
	if moved && !t.broken {
		t.broken = true
		m.put(what, t, n)
		return at
	}
	m.put(what, turn{at: at + 1, failed: append(slices.Clip(t.failed), why)}, n)
	if at+1 == n {
		return -1
	}
	return at + 1
}

func (m *Mirrors) note(format string, args ...any) {
	if m.Note != nil {
		m.Note(format, args...)
	}
}

// ask tries the locations in turn until one succeeds. Then it logs the failures of the others; otherwise the error has
// them, with those of earlier calls in this round, and is transient if one of them is.
func (s *Source) ask(ctx context.Context, part Part, d digest.Digest, ask func(context.Context, *location, *reader) error) error {
	what, n := turnOf(part, d), len(s.locations)
	first, failed := s.mirrors.get(what, n)
	var notes []string
	for i := first; i < n; i++ {
		l, last := s.locations[i], i == n-1
		known := l.disabledBy()
		err := known
		if err == nil {
			err = s.askOne(ctx, l, part, ask)
		}
		if err == nil || errors.Is(err, ErrRange) {
			for _, n := range notes {
				s.mirrors.note("%s", n)
			}
			return err
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx) // the reason for the cancellation
		}
		failed = append(failed, attempt{l.name(), reword(err)})
		s.mirrors.pass(what, i, n, failed)
		if !last {
			slog.Debug("location passed over", "wanted", what, "from", l.name(), "error", reword(err), "next", s.locations[i+1].name())
		}
		switch {
		case ctx.Err() != nil && !last:
			return &retry.NextError{Err: failed.err(s.pinned == ""), Next: s.locations[i+1].name()}
		case ctx.Err() != nil:
			return failed.err(s.pinned == "")
		case !last && known == nil:
			notes = append(notes, fmt.Sprintf("%s from %s: %v; asking %s", what, l.name(), reword(err), s.locations[i+1].name()))
			if part == manifestPart && s.raw == nil || !l.connected() {
				l.disable(err)
			}
		}
	}
	return failed.err(s.pinned == "")
}

// askOne tries one location. With mirrors, it renews an expired token before the next location is tried.
func (s *Source) askOne(ctx context.Context, l *location, part Part, ask func(context.Context, *location, *reader) error) error {
	err := l.do(ctx, ask)
	r := l.current()
	switch {
	case r == nil:
	case err == nil:
		r.worked.Store(true)
	case len(s.locations) > 1 && part != Signatures && statusOf(err) == http.StatusUnauthorized && r.worked.Load() && ctx.Err() == nil:
		if _, e := l.reader(ctx, r); e == nil {
			err = l.do(ctx, ask)
		}
	}
	return err
}

// current returns the connection in use, or nil.
func (l *location) current() *reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) == 0 {
		return nil
	}
	return l.open[len(l.open)-1]
}

func (l *location) connected() bool { return l.current() != nil }

// attempts are the locations that failed, with their errors.
type attempts []attempt

type attempt struct {
	from string
	err  error
}

// mirrorsError holds the errors of several locations. It is classified by the most important one.
type mirrorsError struct {
	attempts
	primary int
}

func (e *mirrorsError) Unwrap() error { return e.attempts[e.primary].err }

func (e *mirrorsError) Error() string {
	var others []string
	for i, a := range e.attempts {
		if i != e.primary {
			others = append(others, a.from+": "+a.err.Error())
		}
	}
	a := e.attempts[e.primary]
	return a.from + ": " + a.err.Error() + " (also asked: " + strings.Join(others, "; ") + ")"
}

// err returns the most important error with the others: a transient one, or else the last, which is that of the registry
// itself. For a tag, "not found" from the registry is final: tags are the registry's own.
func (a attempts) err(tag bool) error {
	last := len(a) - 1
	if last == 0 {
		return a[0].err
	}
	primary := last
	for i, one := range a {
		if class, _ := Classify(one.err); class == retry.Transient {
			primary = i
		}
	}
	if tag && IsNotFound(a[last].err) {
		primary = last
	}
	return &mirrorsError{a, primary}
}
