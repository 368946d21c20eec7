// Package osbuild tests the executables in the hands of the real osbuild.
//
// It needs osbuild, a checkout or an installation, whose place the environment
// variable OSBUILD gives; without it all tests are skipped. Each runs osbuild over a
// version 2 manifest with a copy of its libdir over which build/libdir is laid, as a
// package would install it, and looks at what osbuild says and what its store holds.
//
//	make test-osbuild OSBUILD=/path/to/osbuild
package osbuild
