package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/disk"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/password"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/unpack"
)

const (
	formatExt4  = "ext4"
	formatQcow2 = "qcow2"
)

// diskFlags are the flags of unpack for disk images and for root's password.
type diskFlags struct {
	size         string
	passwordFile string
	hashFile     string

	bytes    int64              // parsed size; 0: as the content needs
	password *password.Password // nil: unchanged
	warning  string             // about the password file
}

func (d *diskFlags) add(set *pflag.FlagSet) {
	set.StringVar(&d.size, "size", "", "`SIZE` of an ext4 file system, or of each qcow2 image, such as 5GiB (default 1.2 times the content, at least 64MiB)")
	set.StringVar(&d.passwordFile, "root-password-file", "", "set the root password to that in this `FILE`, or - for standard input")
	set.StringVar(&d.hashFile, "root-password-hash", "", "set the root password hash, as for crypt(3), to that in this `FILE`, or - for standard input")
}

// checkDisk validates these flags, and reads the password.
func (u *unpackCommand) checkDisk() error {
	d := &u.disk
	image := u.format == formatExt4 || u.format == formatQcow2
	switch {
	case d.size != "" && !image:
		return fmt.Errorf("--size does not go with the format %s: use --format ext4 or qcow2", u.format)
	case d.passwordFile != "" && d.hashFile != "":
		return errors.New("--root-password-file does not go with --root-password-hash: leave one out")
	case d.passwordFile+d.hashFile != "" && u.format == formatTar:
		return fmt.Errorf("a password of root does not go with the format %s: use dir, ext4 or qcow2", u.format)
	}
	if d.size != "" {
		var err error
		if d.bytes, err = parseSize(d.size); err != nil {
			return fmt.Errorf("--size %s: %w", d.size, err)
		}
		const sector = 512
		if d.bytes = d.bytes / sector * sector; d.bytes == 0 {
			return fmt.Errorf("--size %s: too small for a file system", d.size)
		}
	}
	if d.passwordFile != "" {
		return u.readPassword("--root-password-file", d.passwordFile, password.ReadPlain)
	}
	if d.hashFile != "" {
		return u.readPassword("--root-password-hash", d.hashFile, password.ReadHash)
	}
	return nil
}

// readPassword reads the password from a flag's file.
func (u *unpackCommand) readPassword(flag, path string, read func(io.Reader) (password.Password, error)) error {
	in := u.env.Stdin
	if path == "-" && u.env.StdinIsTerminal {
		return fmt.Errorf("%s -: standard input is a terminal: name a file, or send the password into a pipe", flag)
	}
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
			u.disk.warning = fmt.Sprintf("warning: %s has the mode %04o: others may read the password in it", path, fi.Mode().Perm())
		}
		in = f
	}
	p, err := read(in)
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, path, err)
	}
	u.disk.password = &p
	return nil
}

// seed returns the seed of a file system's identity and of a password's salt.
func seed(i *unpack.Image) string { return digest.FromBytes(i.Config).String() }

// passwordHash returns the hash of the password, or "".
func (u *unpackCommand) passwordHash(i *unpack.Image) string {
	if u.disk.password == nil {
		return ""
	}
	return u.disk.password.Hash(seed(i))
}

// setPassword sets root's password in a directory.
func (u *unpackCommand) setPassword(dir string, i *unpack.Image, log *progress.Reporter) error {
	if u.disk.password == nil {
		return nil
	}
	notes, err := password.SetInDir(dir, u.passwordHash(i))
	for _, n := range notes {
		log.Note("image %q: %s", i.Name, n)
	}
	if err != nil {
		return fmt.Errorf("image %q: %w", i.Name, err)
	}
	return nil
}

// bytesToRead returns how many bytes of layers are read: twice their size if the size of a file system must be determined.
func (u *unpackCommand) bytesToRead(i *unpack.Image) int64 {
	if (u.format == formatExt4 || u.format == formatQcow2) && u.disk.bytes == 0 {
		return manifest.AddSizes(i.Size(), i.Size())
	}
	return i.Size()
}

func (u *unpackCommand) diskOptions(i *unpack.Image) disk.Options {
	return disk.Options{
		Deploy: u.options, Size: u.disk.bytes, Seed: seed(i), Time: u.options.Epoch, RootPassword: u.passwordHash(i),
	}
}

func (u *unpackCommand) writeExt4(ctx context.Context, i *unpack.Image, log *progress.Reporter) error {
	return u.writeFile(i, func(f *os.File) error {
		return diskError(i, disk.WriteExt4(ctx, f, i.Layers, u.diskOptions(i), log))
	})
}

func (u *unpackCommand) writeQcow2(ctx context.Context, i *unpack.Image, log *progress.Reporter) error {
	return u.writeInDir(i, func(d *unpack.Dir) error {
		if err := os.Chmod(d.Path, 0o755); err != nil {
			return err
		}
		names, err := disk.WriteChain(ctx, d.Path, i.Layers, u.diskOptions(i), log)
		if err != nil {
			return diskError(i, err)
		}
		log.Note("image %q: the image on top is %s", i.Name, names[len(names)-1])
		return nil
	})
}

// diskError adds the name of the image to an error, and a hint with the size needed.
func diskError(i *unpack.Image, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = fmt.Errorf("image %q: %w", i.Name, err)
	if small, ok := errors.AsType[*disk.SizeError](err); ok {
		const unit = 1 << 20
		return hint.Add(err, "use --size %dMiB or more", (small.Needed+unit-1)/unit)
	}
	return err
}
