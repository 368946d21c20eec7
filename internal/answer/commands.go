package answer

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Command is a command with its answer.
type Command struct {
	Name   string // without the name of the tool
	Answer any    // nil: a stream of Events
}

// File is the name of the command's schema in schemas/output.
func (c Command) File() string {
	if c.Answer == nil {
		return EventsFile
	}
	return strings.ReplaceAll(strings.ReplaceAll(c.Name, " --", " "), " ", "-") + ".schema.json"
}

// Commands are all commands that answer in JSON, in the order of the documentation.
func Commands() []Command {
	return []Command{
		{"pin add", PinAdd{}},
		{"pin list", PinList{}},
		{"pin check", PinCheck{}},
		{"pin update", PinUpdate{}},
		{"pin remove", PinRemove{}},
		{"pin manifest", PinManifest{}},
		{"pin parse", PinParse{}},
		{"fetch", nil},
		{"fetch --plan", FetchPlan{}},
		{"list", List{}},
		{"inspect", Inspect{}},
		{"du", DU{}},
		{"verify", Verify{}},
		{"gc", GC{}},
		{"rm", RM{}},
		{"tag", Tag{}},
		{"export", Export{}},
		{"import", Import{}},
		{"mirror", Mirror{}},
		{"unpack", nil},
		{"unpack --dry-run", UnpackPlan{}},
		{"modules status", ModulesStatus{}},
		{"modules enable", ModulesChange{}},
		{"modules disable", ModulesChange{}},
		{"version", Version{}},
	}
}

// What the commands of pin answer.
type (
	// PinAdd has what was pinned.
	PinAdd struct {
		Version Format `json:"version"`
		PinFile string `json:"pinFile"`      // path of the pin file
		DryRun  bool   `json:"dryRun"`       // nothing was written
		Added   int    `json:"addedCount"`   // how many were not pinned before
		Changed int    `json:"changedCount"` // how many were pinned to something else
		Images  []Pin  `json:"images"`       // what was pinned
	}
	// PinList has what is pinned.
	PinList struct {
		Version Format `json:"version"`
		PinFile string `json:"pinFile"` // path of the pin file, - for standard input
		Images  []Pin  `json:"images"`  // what is pinned, or what of it was named
	}
	// PinCheck has the state of each pin.
	PinCheck struct {
		Version Format       `json:"version"`
		PinFile string       `json:"pinFile"` // path of the pin file, - for standard input
		State   string       `json:"state"`   // the worst state of all: gone, failed, moved, ok
		Images  []CheckedPin `json:"images"`  // each pin
	}
	// A CheckedPin is a pin that was compared with what is served now.
	CheckedPin struct {
		Reference string        `json:"reference"`         // name in full, with its tag
		Transport string        `json:"transport"`         // docker for a registry, or containers-storage
		Platform  string        `json:"platform"`          // os/architecture[/variant] in Go's names, or any
		State     string        `json:"state"`             // ok; moved: the tag points to something else, or is gone; gone: what is pinned is not served any more; failed: it cannot be told
		Pinned    digest.Digest `json:"pinned"`            // digest that the reference is pinned to
		Current   digest.Digest `json:"current,omitempty"` // digest that the tag points to now; absent without a tag, or if it cannot be told
		From      string        `json:"from,omitempty"`    // the repository that has what is pinned, a mirror's or the registry's, or the store
		Absent    []string      `json:"absent"`            // what is not served: list, manifest, tag
		Base      *CheckedBase  `json:"base,omitempty"`    // the image that it says it was built on, if it says so
		Error     string        `json:"error,omitempty"`   // why it cannot be told
	}
	// A CheckedBase is a base that was compared with what its name points to now.
	CheckedBase struct {
		Base
		Current digest.Digest `json:"current,omitempty"` // digest that the name points to now; absent if it cannot be told
		Moved   bool          `json:"moved"`             // that is another one
		Error   string        `json:"error,omitempty"`   // why it cannot be told
	}
	// PinUpdate has each pin before and after.
	PinUpdate struct {
		Version Format       `json:"version"`
		PinFile string       `json:"pinFile"` // path of the pin file
		DryRun  bool         `json:"dryRun"`  // nothing was written
		Images  []UpdatedPin `json:"images"`  // each pin
	}
	// An UpdatedPin is a pin before and after.
	UpdatedPin struct {
		Reference string  `json:"reference"`     // name in full, with its tag
		Platform  string  `json:"platform"`      // os/architecture[/variant] in Go's names, or any
		Changed   bool    `json:"changed"`       // it is pinned to something else now
		Old       Pin     `json:"old"`           // the pin before
		New       Pin     `json:"new"`           // the pin now
		Added     []Layer `json:"addedLayers"`   // layers that only the new one has
		Removed   []Layer `json:"removedLayers"` // layers that only the old one has
		Kept      []Layer `json:"keptLayers"`    // layers that both have
	}
	// PinRemove has what was removed from the pin file.
	PinRemove struct {
		Version Format `json:"version"`
		PinFile string `json:"pinFile"`        // path of the pin file
		DryRun  bool   `json:"dryRun"`         // nothing was written
		Images  []Pin  `json:"images"`         // what was removed
		Left    int    `json:"remainingCount"` // how many are pinned now
	}
	// PinManifest has what was put into an osbuild manifest.
	PinManifest struct {
		Version  Format              `json:"version"`
		Manifest string              `json:"osbuildManifest"` // path of the manifest, - for standard input
		PinFile  string              `json:"pinFile"`         // path of the pin file
		DryRun   bool                `json:"dryRun"`          // nothing was written
		Changed  bool                `json:"changed"`         // the manifest is another one than before
		Images   []PinnedReference   `json:"images"`          // references to images that are pinned
		Unpinned []UnpinnedReference `json:"unpinned"`        // references to images that are not pinned, which are as they were
	}
	// A PinnedReference is a reference in a manifest that a pin determines.
	PinnedReference struct {
		At        string        `json:"at"`        // where in the manifest
		Reference string        `json:"reference"` // name in full, with its tag
		Platform  string        `json:"platform"`  // os/architecture[/variant] in Go's names, or any
		Old       string        `json:"oldKey"`    // what was there: an image id, the digest of a list, or the name of an image
		ID        digest.Digest `json:"id"`        // what is there now: the image id, or the digest of a list
	}
	// An UnpinnedReference is a reference in a manifest that no pin determines.
	UnpinnedReference struct {
		At        string `json:"at"`        // where in the manifest
		ID        string `json:"id"`        // image id, or the digest of a list
		Reference string `json:"reference"` // name that the manifest gives it; "" if there is none
	}
	// PinParse has how references are understood.
	PinParse struct {
		Version    Format            `json:"version"`
		References []ParsedReference `json:"references"` // in the order they were given
	}
	// A ParsedReference is a reference in its parts.
	ParsedReference struct {
		Reference  string        `json:"reference"`                 // name in full
		Transport  string        `json:"transport"`                 // docker for a registry, or containers-storage
		Storage    string        `json:"storageLocation,omitempty"` // graph root of the containers-storage, if one was given
		Repository string        `json:"repository"`                // registry and repository
		Tag        string        `json:"tag,omitempty"`             // tag
		Digest     digest.Digest `json:"digest,omitempty"`          // digest, if one was given
		Locations  []string      `json:"locations"`                 // the repositories that are asked, mirrors first
		Platforms  []string      `json:"platforms"`                 // the platforms that would be pinned
	}
)

// What the commands for caches answer.
type (
	// FetchPlan has what fetch would do.
	FetchPlan struct {
		Version  Format        `json:"version"`
		Cache    string        `json:"cache"`    // path of the cache, empty for a temporary one
		Items    []PlannedItem `json:"items"`    // images and manifest lists
		Download int64         `json:"download"` // bytes to download
		Reuse    int64         `json:"reuse"`    // bytes that need no download
	}
	// A PlannedItem is an image or a manifest list that is to be fetched.
	PlannedItem struct {
		Item
		Reference string        `json:"reference"`          // name, as the pin file or the manifest has it
		Pinned    digest.Digest `json:"pinned"`             // digest by which it is fetched
		Platform  string        `json:"platform,omitempty"` // os/architecture[/variant] in Go's names, or any, of an image that is pinned
		Cached    bool          `json:"cached"`             // it is in the cache: nothing is to be done
		From      string        `json:"from,omitempty"`     // the repository it would be fetched from, a mirror's or the registry's, or the store
		Size      int64         `json:"size"`               // bytes of config and layers, each blob once, or of the list
		Download  int64         `json:"download"`           // bytes to download
		Reuse     int64         `json:"reuse"`              // bytes that need no download
		Blobs     []PlannedBlob `json:"blobs"`              // config and layers; none of a list, or of what is cached
		Error     string        `json:"error,omitempty"`    // why it cannot be fetched
	}
	// A PlannedBlob is a config or a layer that is needed.
	PlannedBlob struct {
		Digest digest.Digest `json:"digest"` // digest of the blob
		Size   int64         `json:"size"`   // bytes; -1 if that is not known, of a layer of schema 1
		Way    string        `json:"way"`    // download; pool: it is in the cache; image: the image that is to be replaced has it; earlier: an item before this one brings it
		Have   int64         `json:"have"`   // bytes that an earlier download left
	}
	// List has the images of a cache.
	List struct {
		Version Format        `json:"version"`
		Cache   string        `json:"cache"`  // path of the cache
		Images  []CachedImage `json:"images"` // by name, the newest first
	}
	// Inspect has all there is to know of one image.
	Inspect struct {
		Version Format `json:"version"`
		Cache   string `json:"cache"` // path of the cache
		CachedImage
		MediaType  string          `json:"mediaType,omitempty"` // media type of the manifest; absent if it does not say
		Path       string          `json:"path"`                // directory of the image
		Layers     []CachedLayer   `json:"layers"`              // layers, the lowest first
		Signatures []Signature     `json:"signatures"`          // signatures that are stored with it
		Config     json.RawMessage `json:"config,omitempty"`    // the config as it is in the image, an OCI or Docker config
	}
	// DU has what a cache takes on disk.
	DU struct {
		Version Format        `json:"version"`
		Cache   string        `json:"cache"`   // path of the cache
		Images  []CachedImage `json:"images"`  // the one with the most unshared bytes first
		Size    int64         `json:"size"`    // bytes of the images, each by itself
		Disk    int64         `json:"disk"`    // bytes of the images on disk
		Saved   int64         `json:"saved"`   // bytes that sharing saves
		Twice   int64         `json:"twice"`   // bytes of disk that are stored more than once
		Unused  Blobs         `json:"unused"`  // blobs that no image has
		Partial Blobs         `json:"partial"` // downloads that run or were interrupted
		Total   int64         `json:"total"`   // bytes of all: disk, unused and partial
	}
	// Verify has what is damaged, and how much was read.
	Verify struct {
		Version   Format          `json:"version"`
		Cache     string          `json:"cache"`         // path of the cache
		Images    int             `json:"imageCount"`    // how many images were verified
		Files     int             `json:"fileCount"`     // how many files were read, each once however many names it has
		Bytes     int64           `json:"bytes"`         // how much was read
		Damaged   []Damage        `json:"damaged"`       // what is damaged, and was not repaired
		Repaired  []Damage        `json:"repaired"`      // what was damaged, and was repaired
		Unvouched []digest.Digest `json:"unvouched"`     // ids of images for whose manifest no recorded digest vouches
		Replaced  int             `json:"replacedCount"` // how many images were replaced each time they were read, and so not verified
	}
	// A Damage is a file that is not what its digest says.
	Damage struct {
		ID     digest.Digest `json:"id,omitempty"`     // id of the image it is a part of; absent for a list, or a blob that no image has
		Title  string        `json:"title"`            // the image's name, or what the file is
		Part   string        `json:"part"`             // what it is to the image: manifest, list, schema1, config, layer, signature or version; of no image: file, which has a digest for a name, or blob
		Digest digest.Digest `json:"digest,omitempty"` // digest that it should have; absent if that is not known
		Path   string        `json:"path"`             // the file
		Got    string        `json:"got"`              // what it has: a digest, a size, nothing, or why it cannot be read
		Error  string        `json:"error,omitempty"`  // why it could not be repaired
	}
	// GC has what was removed.
	GC struct {
		Version  Format          `json:"version"`
		Cache    string          `json:"cache"`    // path of the cache
		DryRun   bool            `json:"dryRun"`   // nothing was removed: the rest is what would be
		Images   []RemovedImage  `json:"images"`   // images that were removed, the least recently used first; those that stayed say why
		Lists    []digest.Digest `json:"lists"`    // digests of manifest lists that were removed
		Unused   Blobs           `json:"unused"`   // blobs that were removed since no image has them
		Partial  Blobs           `json:"partial"`  // interrupted downloads that were removed
		Frees    int64           `json:"frees"`    // bytes that came free, or would
		Total    int64           `json:"total"`    // bytes of all blobs after that
		Over     int64           `json:"over"`     // bytes more than --max-size that are to be kept
		Busy     []string        `json:"busy"`     // why not all could be done now
		NotFound []digest.Digest `json:"notFound"` // ids and digests of what is to be kept and is not in the cache
	}
	// A RemovedImage is an image that gc or rm removes.
	RemovedImage struct {
		CachedImage
		Frees  int64  `json:"frees"`            // bytes of its blobs that no image has once those before it are removed
		Stayed string `json:"stayed,omitempty"` // why it was not removed
	}
	// RM has what was removed, and what only lost a name.
	RM struct {
		GC
		Untagged []UntaggedImage `json:"untagged"` // images that lost names and stay under the names that they have
	}
	// An UntaggedImage is an image that lost names.
	UntaggedImage struct {
		CachedImage
		Removed []string `json:"removedNames"` // the names that it had
	}
	// Tag has the images that were given names.
	Tag struct {
		Version Format        `json:"version"`
		Cache   string        `json:"cache"`  // path of the cache
		DryRun  bool          `json:"dryRun"` // nothing was written
		Images  []TaggedImage `json:"images"` // one for each platform
	}
	// A TaggedImage is an image that was given names.
	TaggedImage struct {
		CachedImage
		Added []string `json:"addedNames"` // the names that it was given
	}
)

// What the commands that carry images answer.
type (
	// Export has what was written to the file or directory.
	Export struct {
		Version Format          `json:"version"`
		Output  string          `json:"output"`  // path of the file or directory
		Format  string          `json:"format"`  // oci-archive or oci
		DryRun  bool            `json:"dryRun"`  // nothing was written: the rest is what would be
		Images  []Image         `json:"images"`  // the images in it
		Lists   []digest.Digest `json:"lists"`   // digests of the manifest lists in it
		Written Blobs           `json:"written"` // configs and layers that were written
		LeftOut Blobs           `json:"leftOut"` // configs and layers that were left out, since what --have names has them
	}
	// Import has what was brought into the cache.
	Import struct {
		Version Format         `json:"version"`
		Cache   string         `json:"cache"`  // path of the cache
		From    string         `json:"from"`   // path of the file or directory, - for standard input
		Format  string         `json:"format"` // oci, oci-archive, docker-archive, dir or tarball
		DryRun  bool           `json:"dryRun"` // nothing was written: the rest is what would be, and no blob was verified
		Items   []ImportedItem `json:"items"`  // images and manifest lists
	}
	// An ImportedItem is an image or a manifest list that was imported.
	ImportedItem struct {
		Item
		Manifest digest.Digest `json:"manifest,omitempty"` // digest of the manifest, of an image: what to pin it by
		Platform string        `json:"platform,omitempty"` // os/architecture[/variant] in Go's names, of an image
		Names    []string      `json:"names"`              // names in full, with tags
		State    string        `json:"state"`              // imported; cached: it was in the cache; failed
		Bytes    int64         `json:"bytes"`              // bytes that were copied
		Reused   int64         `json:"reused"`             // bytes that were in the cache
		Error    string        `json:"error,omitempty"`    // why it failed
	}
	// UnpackPlan has what unpack would do: the items are what it would fetch.
	UnpackPlan struct {
		FetchPlan
		Output string  `json:"output"`           // path of what would be written, - for standard output
		Format string  `json:"format"`           // dir, tar, ext4 or qcow2
		Size   int64   `json:"size,omitempty"`   // bytes of the disk image, of each one in a chain; absent if it is as the content needs
		Config string  `json:"config,omitempty"` // path of the config that would be written
		Layers []Layer `json:"layers"`           // layers that would be unpacked, the lowest first
	}
	// Mirror has what was copied to a registry.
	Mirror struct {
		Version     Format          `json:"version"`
		Destination string          `json:"destination"` // registry and prefix
		DryRun      bool            `json:"dryRun"`      // nothing was sent: the rest is what would be
		Images      []MirroredImage `json:"images"`      // one for each reference
		Sent
		RegistriesConf string `json:"registriesConf"` // the part of registries.conf that has tools ask the mirror first
	}
	// A MirroredImage is a reference that was copied, with its manifest list if there is one.
	MirroredImage struct {
		Reference   string        `json:"reference"`   // name in full, with its tag
		Pinned      digest.Digest `json:"pinned"`      // digest that the reference is pinned to
		Destination string        `json:"destination"` // where it is now: repository and tag
		Platforms   []string      `json:"platforms"`   // the platforms that were copied
		Sent
		Error string `json:"error,omitempty"` // why it is not there, or not whole
	}
)

// What the other commands answer.
type (
	// ModulesStatus has whose modules osbuild uses.
	ModulesStatus struct {
		Version Format   `json:"version"`
		Libdir  string   `json:"libdir"`  // libdir of osbuild
		Modules []Module `json:"modules"` // all that this project has
	}
	// A Module is a source or a stage of osbuild.
	Module struct {
		Name    string `json:"name"`              // sources/ or stages/ and the name
		State   string `json:"state"`             // ours, osbuild or missing
		Release string `json:"release,omitempty"` // version of one of ours
		Kept    bool   `json:"kept"`              // osbuild's own is kept
	}
	// ModulesChange has what was enabled or disabled.
	ModulesChange struct {
		Version Format   `json:"version"`
		Libdir  string   `json:"libdir"`         // libdir of osbuild
		DryRun  bool     `json:"dryRun"`         // nothing was written
		Changed []string `json:"changedModules"` // names of the modules that were changed
	}
	// Version has the version of the tool.
	Version struct {
		Version Format `json:"version"`
		Name    string `json:"name"`    // osbuild-containers
		Release string `json:"release"` // version, with commit and date if they are known
	}
)
