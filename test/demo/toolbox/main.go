// Toolbox is the program in the demo's image: a few small commands in one static executable, selected by the name it is called by,
// like busybox.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// applet is one command. An error is printed and makes the exit status 1.
type applet func(args []string, in io.Reader, out io.Writer) error

var applets = map[string]applet{
	"cat":       cat,
	"echo":      echo,
	"env":       env,
	"false":     func([]string, io.Reader, io.Writer) error { return exitStatus(1) },
	"hostname":  hostname,
	"ls":        ls,
	"mkdir":     each(func(name string) error { return os.MkdirAll(name, 0o777) }),
	"pwd":       pwd,
	"rm":        each(os.Remove),
	"sha256sum": sha256sum,
	"sleep":     each(sleep),
	"true":      func([]string, io.Reader, io.Writer) error { return nil },
	"uname":     uname,
	"wc":        wc,
}

// exitStatus ends the program silently.
type exitStatus int

// Error implements error.
func (s exitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

func main() {
	applets["sh"] = sh // here, to avoid an initialisation cycle: sh runs applets
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	name := filepath.Base(args[0])
	if name == "toolbox" && len(args) > 1 {
		args = args[1:]
		name = args[0]
	}
	do, ok := applets[name]
	if !ok {
		names := make([]string, 0, len(applets))
		for n := range applets {
			names = append(names, n)
		}
		slices.Sort(names)
		fmt.Fprintf(errOut, "toolbox: the commands are %s\n", strings.Join(names, " "))
		return 127
	}
	switch err := do(args[1:], in, out).(type) { //nolint:errorlint // made here, never wrapped
	case nil:
		return 0
	case exitStatus:
		return int(err)
	default:
		fmt.Fprintf(errOut, "%s: %v\n", name, err)
		return 1
	}
}

func each(do func(string) error) applet {
	return func(args []string, _ io.Reader, _ io.Writer) error {
		for _, a := range args {
			if err := do(a); err != nil {
				return err
			}
		}
		return nil
	}
}

// inputs calls do with each named file, or with standard input.
func inputs(args []string, in io.Reader, do func(name string, r io.Reader) error) error {
	if len(args) == 0 {
		return do("-", in)
	}
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = do(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func cat(args []string, in io.Reader, out io.Writer) error {
	return inputs(args, in, func(_ string, r io.Reader) error {
		_, err := io.Copy(out, r)
		return err
	})
}

func sha256sum(args []string, in io.Reader, out io.Writer) error {
	return inputs(args, in, func(name string, r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%x  %s\n", h.Sum(nil), name)
		return nil
	})
}

func wc(args []string, in io.Reader, out io.Writer) error {
	return inputs(args, in, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		text := string(data)
		fmt.Fprintf(out, "%d %d %d %s\n", strings.Count(text, "\n"), len(strings.Fields(text)), len(text), name)
		return nil
	})
}

func echo(args []string, _ io.Reader, out io.Writer) error {
	fmt.Fprintln(out, strings.Join(args, " "))
	return nil
}

func env(_ []string, _ io.Reader, out io.Writer) error {
	for _, e := range os.Environ() {
		fmt.Fprintln(out, e)
	}
	return nil
}

func hostname(_ []string, _ io.Reader, out io.Writer) error {
	name, err := os.Hostname()
	fmt.Fprintln(out, name)
	return err
}

func pwd(_ []string, _ io.Reader, out io.Writer) error {
	dir, err := os.Getwd()
	fmt.Fprintln(out, dir)
	return err
}

func uname(_ []string, _ io.Reader, out io.Writer) error {
	fmt.Fprintln(out, runtime.GOOS, runtime.GOARCH)
	return nil
}

func sleep(arg string) error {
	seconds, err := strconv.ParseFloat(arg, 64)
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	return err
}

func ls(args []string, _ io.Reader, out io.Writer) error {
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, dir := range args {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s %9d %s\n", info.Mode(), info.Size(), e.Name())
		}
	}
	return nil
}

// sh runs the commands of -c or of standard input, one per line, without further syntax.
func sh(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 2 && args[0] == "-c" {
		in = strings.NewReader(args[1])
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if words[0] == "exit" {
			return nil
		}
		if _, ok := applets[words[0]]; ok {
			if status := run(words, in, out, os.Stderr); status != 0 {
				return exitStatus(status)
			}
			continue
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return lines.Err()
}
