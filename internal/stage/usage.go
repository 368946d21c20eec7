package stage

import "fmt"

// examples are inputs and options that the stages accept.
var examples = map[string][2]string{
	"org.osbuild.skopeo": {
		`{"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}}`,
		`{"destination": {"type": "containers-storage"}}`,
	},
	"org.osbuild.container-deploy": {
		`{"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}}`,
		`{"exclude": ["usr/share/doc"]}`,
	},
	"org.osbuild.oci-archive": {
		`{"base": {"path": "/inputs/tree"}}`,
		`{"architecture": "amd64", "filename": "image.tar"}`,
	},
}

// usage shows arguments that work when there is such an input.
func usage(name string) string {
	example, ok := examples[name]
	if !ok {
		example = [2]string{`{}`, `{}`}
	}
	return fmt.Sprintf(`usage: %[1]s < arguments.json

Reads its arguments, one JSON object, from /run/osbuild/api/arguments, where
osbuild puts them, or else from standard input; changes the tree; and writes its
log to standard error. %[1]s.meta.json describes the
inputs and options.

arguments.json:
  {"tree": "/some/tree",
   "inputs": %[2]s,
   "options": %[3]s,
   "meta": {"source-epoch": 1700000000}}

exit status: 0 done, 1 failed, 2 the arguments were refused, 130 or 143
interrupted

  --version   print the version
  --help      print this
`, name, example[0], example[1])
}
