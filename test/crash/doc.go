// Package crash tests whole processes: the executables in build/libdir with a real registry behind a slow proxy, full disks,
// parallel processes, and kills.
//
// After each kill, everything with a published name is verified byte for byte.
package crash
