// Package library holds what registries and storages need of the libraries, and what depends on neither.
package library
