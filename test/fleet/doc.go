// Package fleet tests what docs/fleet.md promises, with the executables as they are installed: many
// builders share one registry, and need no other.
package fleet
