// Package crash tests whole processes: the executables in build/libdir, against a real registry
// behind a proxy that is slow, or full disks, or beside each other, or killed.
//
// After each kill everything that has a published name is read and verified, byte for byte.
package crash
