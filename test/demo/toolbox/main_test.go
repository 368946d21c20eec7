package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("one two\nthree\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	applets["sh"] = sh
	tests := []struct {
		args   []string
		in     string
		status int
		out    string
	}{
		{[]string{"/bin/echo", "a", "b"}, "", 0, "a b\n"},
		{[]string{"toolbox", "cat", file}, "", 0, "one two\nthree\n"},
		{[]string{"cat"}, "in", 0, "in"},
		{[]string{"wc", file}, "", 0, "2 3 14 " + file + "\n"},
		{[]string{"sha256sum"}, "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n"},
		{[]string{"true"}, "", 0, ""},
		{[]string{"false"}, "", 1, ""},
		{[]string{"cat", file + "x"}, "", 1, "cat: open " + file + "x: no such file or directory\n"},
		{[]string{"sh", "-c", "echo hello\nexit\necho no"}, "", 0, "hello\n"},
		{[]string{"sh"}, "false\n", 1, ""},
		{[]string{"vi"}, "", 127, "toolbox: the commands are cat echo env false hostname ls mkdir pwd rm sh sha256sum sleep true uname wc\n"},
	}
	for _, tt := range tests {
		var out strings.Builder
		status := run(tt.args, strings.NewReader(tt.in), &out, &out)
		if status != tt.status || out.String() != tt.out {
			t.Errorf("%q: status %d, output %q", tt.args, status, out.String())
		}
	}
}
