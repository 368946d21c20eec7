package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
)

// Kinds of files that may be given instead of an image.
const (
	pinsFile     = "a pin file"
	namesFile    = "a file with names of images"
	manifestFile = "an osbuild manifest"
	imageFile    = "an archive"
	imageDir     = "a directory with images"
	otherFile    = "a file"
	otherDir     = "a directory"
)

// fileAdvice maps a command and the kind of file it was given instead of an image to the command that was meant.
var fileAdvice = map[string]map[string]string{
	"pin":          {pinsFile: "pin check --pins", namesFile: "pin --from", manifestFile: "pin manifest"},
	"pin list":     {pinsFile: "pin list --pins"},
	"pin check":    {pinsFile: "pin check --pins"},
	"pin update":   {pinsFile: "pin update --pins"},
	"pin remove":   {pinsFile: "pin remove NAME --pins"},
	"pin export":   {pinsFile: "pin export --pins"},
	"pin manifest": {pinsFile: "pin manifest FILE --pins", namesFile: "pin --from", manifestFile: "pin manifest"},
	"fetch":        {pinsFile: "fetch --pins", namesFile: "pin --from", manifestFile: "fetch --manifest"},
	"export":       {pinsFile: "export --pins", namesFile: "pin --from", manifestFile: "fetch --manifest"},
	"mirror":       {pinsFile: "mirror DEST --pins", namesFile: "pin --from", manifestFile: "pin manifest"},
	"unpack":       {pinsFile: "unpack IMAGE DEST --pins", namesFile: "pin --from", manifestFile: "pin manifest"},
}

// refuseFiles refuses arguments that are files instead of images: the user never means docker.io. An image with the same name
// as a file needs the prefix docker://.
func refuseFiles(command string, args []string) error {
	var errs []error
	for _, arg := range args {
		kind := kindOf(arg)
		if kind == "" {
			continue
		}
		advice := fmt.Sprintf("if an image is meant, use docker://%s", arg)
		if meant := fileAdvice[command][kind]; meant != "" {
			advice = fmt.Sprintf("use %s %s %s", Name, meant, arg)
		} else if kind == imageFile || kind == imageDir {
			advice = fmt.Sprintf("use %s import %s", Name, arg)
		} else if filepath.IsAbs(arg) || strings.HasPrefix(arg, ".") {
			advice = "name an image"
		}
		errs = append(errs, hint.Add(fmt.Errorf("%s is %s, not the name of an image", arg, kind), "%s", advice))
	}
	return refused(errors.Join(errs...))
}

// kindOf returns the kind of the file or directory at path, or "" if there is none or path is more likely an image name.
func kindOf(path string) string {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case fi.IsDir() && slices.ContainsFunc([]string{"index.json", "oci-layout", "manifest.json"}, func(name string) bool { return exists(path, name) }):
		return imageDir
	case fi.IsDir() && (filepath.IsAbs(path) || strings.HasPrefix(path, ".") || strings.HasSuffix(path, "/")):
		return otherDir
	case fi.IsDir():
		return "" // a directory often has the name of the image built in it
	case !fi.Mode().IsRegular():
		return otherFile
	}
	return kindOfFile(path)
}

// maxGuessed is how many bytes of a file are read to guess its kind.
const maxGuessed = 64 << 20

func kindOfFile(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return otherFile
	}
	defer file.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(file, head)
	if isArchive(head[:n]) {
		return imageFile
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return otherFile
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxGuessed))
	if err != nil {
		return otherFile
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) == nil {
		switch {
		case fields["pipelines"] != nil || fields["sources"] != nil || fields["pipeline"] != nil || fields["manifest"] != nil:
			return manifestFile
		case fields["images"] != nil:
			return pinsFile
		}
	}
	if names, err := pin.Decode(raw); err == nil && len(names) > 0 {
		return namesFile
	}
	return otherFile
}

// isArchive reports whether a file starts like a tar archive or compressed data.
func isArchive(head []byte) bool {
	return compression.Of(head) != compression.None || len(head) == 512 && string(head[257:262]) == "ustar"
}

// refuseSwitches refuses true or false as a separate argument after a boolean flag, where it would be taken for an image name.
func refuseSwitches(cmd *cobra.Command, args []string) error {
	for n, arg := range args[min(len(args), 1):] {
		before := args[n]
		if before == "--" || arg == "--" {
			return nil
		}
		name, long := strings.CutPrefix(before, "--")
		if lower := strings.ToLower(arg); !long || lower != "true" && lower != "false" {
			continue
		}
		if flag := cmd.Flags().Lookup(name); flag != nil && flag.Value.Type() == "bool" {
			return hint.Add(fmt.Errorf("%s takes no value of its own, got %q", before, arg), "use %s=%s", before, strings.ToLower(arg))
		}
	}
	return nil
}
