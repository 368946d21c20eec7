package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// flip implements the command flip.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	_, hex, _ := strings.Cut(args[1], ":")
	done := map[uint64]bool{}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != hex && e.Name() != args[1] {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || done[st.Ino] || st.Size == 0 { // a lock file has the name, too
			return err
		}
		done[st.Ino] = true
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		raw[len(raw)/2] ^= 1
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(raw, 0)
		return err
	}))
	if len(done) == 0 {
		ts.Fatalf("no file below %s holds %s", args[0], args[1])
	}
}

// age implements the command age.
func age(ts *testscript.TestScript, _ bool, args []string) {
	days, err := strconv.Atoi(args[0])
	ts.Check(err)
	at := time.Now().AddDate(0, 0, -days)
	for _, path := range args[1:] {
		var dirs []string
		ts.Check(filepath.WalkDir(ts.MkAbs(path), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.Name() == "source.json" {
				raw, err := os.ReadFile(path)
				ts.Check(err)
				ts.Check(os.WriteFile(path, aTime.ReplaceAll(raw, at.UTC().AppendFormat(nil, "2006-01-02T15:04:05Z")), 0o644))
			}
			dirs = append(dirs, path)
			return nil
		}))
		for _, path := range dirs {
			ts.Check(os.Chtimes(path, at, at))
		}
	}
}

// hold implements the command hold.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, nil, 0o644))
	f, err := os.Open(path)
	ts.Check(err)
	ts.Check(unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}))
	held.Store(ts, f)
	ts.Defer(func() { release(ts, false, nil) })
}

// held are the files that scripts have locked.
var held sync.Map

// release implements the command release.
func release(ts *testscript.TestScript, _ bool, _ []string) {
	if f, ok := held.LoadAndDelete(ts); ok {
		f.(*os.File).Close()
	}
}
