// Package library wraps functions of the libraries that both registry and storage need.
package library
