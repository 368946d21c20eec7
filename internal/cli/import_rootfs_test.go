package cli

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ changes, want string }{
		{`CMD=/bin/bash -l`, `{"Cmd":["/bin/sh","-c","/bin/bash -l"]}`},
		{`cmd ["/bin/sh", "-l"]`, `{"Cmd":["/bin/sh","-l"]}`},
		{`ENTRYPOINT ["/x"]`, `{"Entrypoint":["/x"]}`},
		{"ENV=A=1\nENV B=\"2 3\"\nENV A=4", `{"Env":["B=2 3","A=4"]}`},
		{"ENV A 1", `{"Env":["A=1"]}`},
		{"EXPOSE 80\nEXPOSE=53/udp", `{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}`},
		{"LABEL a=b=c\nLABEL=d=", `{"Labels":{"a":"b=c","d":""}}`},
		{"STOPSIGNAL SIGINT\nUSER 1000:1000\nWORKDIR /w", `{"User":"1000:1000","WorkingDir":"/w","StopSignal":"SIGINT"}`},
		{"VOLUME /a\nVOLUME [\"/b\", \"/c\"]", `{"Volumes":{"/a":{},"/b":{},"/c":{}}}`},

		{"FROM x", `the instruction "FROM" is not known`},
		{"CMD", "CMD has no value"},
		{"ENV=", "ENV has no value"},
		{"ENV A", "want KEY=VALUE"},
		{"LABEL =x", "want KEY=VALUE"},
		{"EXPOSE 0", "want a port, such as 80 or 53/udp"},
		{"EXPOSE 80/x", "want a port, such as 80 or 53/udp"},
		{"WORKDIR w", "want an absolute path"},
		{"CMD [x]", `want a line for a shell, or a JSON list such as ["/bin/sh"]`},
	} {
		var config v1.ImageConfig
		var err error
		for line := range strings.SplitSeq(c.changes, "\n") {
			if err == nil {
				err = change(&config, line)
			}
		}
		raw, _ := json.Marshal(config)
		got := string(raw)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.changes, got, c.want)
		}
	}
}
