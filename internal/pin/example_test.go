package pin_test

import (
	"fmt"

	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// ExampleParseReference parses names that users may write.
func ExampleParseReference() {
	for _, text := range []string{"registry.example/team/app", "docker://registry.example/app:v1", "docker-daemon:app:v1"} {
		ref, err := pin.ParseReference(request.Access{}, text)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(ref)
	}
	// Output:
	// registry.example/team/app:latest
	// registry.example/app:v1
	// image "docker-daemon:app:v1": no image is read from docker-daemon:
}
