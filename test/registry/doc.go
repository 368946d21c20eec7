// Package registry gives tests a real registry and a bad network.
//
// [Start] runs distribution v3, the reference implementation of the registry
// protocol, as a child process on a free loopback port: plain or with TLS, open
// or with basic or token authentication. It ends with the test, and also when the
// test process is killed. [Registry.Faults] puts a proxy in front of it that
// records every request and, on demand, answers wrongly, late, or not at all:
//
//	reg := registry.Start(t, registry.TLS(), registry.Basic("ann", "secret"))
//	img := images.New(images.Layer(1<<20), images.Layer(2<<20))
//	img.Push(t, reg.URL, "repo/name:v1", images.Via(reg.Client()))
//
//	f := reg.Faults(t)
//	f.On(registry.Get(`/blobs/`).First(2), registry.Status(503, "<html>busy</html>"))
//	f.On(registry.Blob(img.Layers[0].Digest.String()).Nth(3), registry.Stall(1000))
//	// … run the code under test against f.Addr + "/repo/name" …
//	if f.BytesSent(`/blobs/`) > 3<<20 { t.Error("downloaded more than once") }
//
// The proxy streams: a blob is never held in memory. Rules are tried in the order
// they were added, all that match apply, the first one outermost.
//
// The package knows nothing of the code under test. The registry executable is
// build/tools/registry; it is built there, once, when it is missing or of another
// version than the file VERSION says.
package registry
