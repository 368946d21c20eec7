// Package stage is the one main of all stages.
//
// A stage says what it does in a Stage; the rest is here. The arguments come from the
// file that osbuild puts into its sandbox, or, where there is none, from standard input,
// and are the same object in both cases. They are checked against the schema of the
// stage before anything is touched. What goes wrong is told three times: as text on
// standard error, as an exception on osbuild's socket when that is there, so that osbuild
// shows it as the stage's error, and by the exit status.
//
//	0    the stage has done its work
//	1    it failed; what it has written of the tree until then is there
//	2    the arguments or the command line were refused; the tree was not touched
//	130  interrupted by SIGINT
//	143  interrupted by SIGTERM
//
// What it promises: nothing of the build root is needed, no file in /etc, no HOME, no
// directory for temporary files; and no line of the log is longer than what osbuild takes.
// What it does not: it does not undo what a stage has done. osbuild throws away the tree
// of a stage that failed, and so should whoever else runs one.
package stage

import (
	"context"
	"encoding/json"

	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Stage is what one executable does.
type Stage struct {
	Name string // the module's name, as org.osbuild.skopeo
	// Run does the work. It returns soon when ctx is cancelled. A *request.Error says
	// that the arguments are refused: then nothing has been touched.
	Run func(ctx context.Context, a *Arguments, log *progress.Reporter) error
}

// Arguments are what a stage is called with.
type Arguments = request.Arguments

// Input is one input of a stage.
type Input = request.Input

// Options fills in the options of the stage, which its schema has accepted.
func Options(a *Arguments, into any) error { return json.Unmarshal(a.Options, into) }

// Refuse says that the value at the path, as options.destination.path, is not one that
// the stage can work with.
func Refuse(path, text string) error {
	return &request.Error{Problems: []request.Problem{{Path: path, Text: text}}}
}

// Env is the process around Main.
type Env struct {
	process.Env
	ArgumentsPath string // osbuild's file of arguments
	APISocket     string // where osbuild wants to hear of what went wrong
}

// OS is the Env of this process. From here on, SIGINT and SIGTERM no longer end the
// process, and neither does writing to a pipe that nobody reads.
func OS() Env {
	return Env{Env: process.Module(), ArgumentsPath: "/run/osbuild/api/arguments", APISocket: "/run/osbuild/api/osbuild"}
}
