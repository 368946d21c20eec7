package ext4

// DataOf returns how many bytes a file's blocks have.
func (fs *FS) DataOf(name string) int64 {
	n, err := fs.find(name)
	if err != nil {
		return -1
	}
	return int64(countBlocks(n.data)) * blockSize
}

// DirHash is the hash of names in large directories.
var DirHash = dirHash
