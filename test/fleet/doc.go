// Package fleet tests the guarantees in docs/fleet.md with the installed executables: many builders share one registry and need no
// other.
package fleet
