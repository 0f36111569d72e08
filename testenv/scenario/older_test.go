package scenario

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/child"
	"hausmeister/testenv/programs"
)

// TestAttack37_StateOfANewerAgent: an agent that the launcher went back to finds what
// the newer one left: state files with fields that it does not know, files of names
// that it does not know, and reports in its spool of a kind that nobody knows yet. It
// is the same device, works, and its own reports arrive past those.
func TestAttack37_StateOfANewerAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	root := filepath.Join(t.TempDir(), "hm")
	agent := filepath.Join(programs.Build(t), "hausmeister-agent")
	_, err := child.Output(t.Context(), "", agent, "enroll", "--dir", root, "--json", newClaim(t, s, 1))
	must(t, err)

	runs := func(atLeast uint64) agentStatus {
		t.Helper()
		c, err := child.Start(child.Config{Program: agent, Args: []string{"run", "--dir", root}, Log: filepath.Join(filepath.Dir(root), "agent.log")})
		must(t, err)
		t.Cleanup(func() {
			c.Kill()
			if t.Failed() {
				t.Logf("end of the agent's log:\n%s", c.LogTail())
			}
		})
		var st agentStatus
		eventually(t, 2*time.Minute, "a report of the agent has arrived", func() (bool, error) {
			out, err := child.Output(t.Context(), "", agent, "status", "--json", "--dir", root)
			if jerr := json.NewDecoder(bytes.NewReader(out)).Decode(&st); jerr != nil {
				return false, err
			}
			return st.State == "connected" && st.Waiting == 0 && st.Entries >= atLeast, nil
		})
		must(t, c.Stop(20*time.Second))
		return st
	}
	before := runs(1)

	state, spooled := filepath.Join(root, "state"), filepath.Join(root, "spool")
	changed := 0
	must(t, filepath.WalkDir(state, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head, body, ok := bytes.Cut(data, []byte("{"))
		if !ok || !json.Valid(append([]byte("{"), body...)) {
			return nil
		}
		comma := ","
		if strings.HasPrefix(string(body), "}") {
			comma = ""
		}
		newer := string(head) + `{"of_the_next_version":{"list":[1,null,"x"]}` + comma + string(body)
		changed++
		return os.WriteFile(path, []byte(newer), 0o600)
	}))
	if changed < 3 {
		t.Fatalf("only %d state files are of a form that can have more fields", changed)
	}
	for _, dir := range []string{state, spooled, filepath.Join(state, "update")} {
		must(t, os.WriteFile(filepath.Join(dir, "of-the-next-version.db"), []byte("HMNEXT2\x00"), 0o600))
	}
	sp, err := spool.Open(spool.Config{Disk: spool.Dir(spooled)})
	must(t, err)
	unknown := hmpb.Entry_builder{DeviceMs: proto.Int64(time.Now().UnixMilli())}.Build()
	unknown.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 900, protowire.BytesType), []byte("a kind of the next version")))
	for range 3 {
		_, err := sp.Append(t.Context(), unknown)
		must(t, err)
	}
	must(t, sp.Close())

	after := runs(before.Entries + 4) // three that nobody knows, and one of its own
	if after.Device != before.Device || before.Device == "" {
		t.Errorf("the device is %s, was %s", after.Device, before.Device)
	}
	for _, dir := range []string{state, filepath.Join(state, "update")} {
		if _, err := os.Stat(filepath.Join(dir, "of-the-next-version.db")); err != nil {
			t.Errorf("the newer agent's file, which it will want again: %v", err)
		}
	}
}
