package local
import ("testing";"context";"fmt";"os";"io")
func TestSmoke(t *testing.T){
 for _, in := range []Input{
  {Path: os.Getenv("T_DIR"), Key:"x", Format:"dir", Name:"n"},
  {Path: os.Getenv("T_TAR"), Key:"x", Format:"oci-archive", Name:"n"},
  {Path: os.Getenv("T_TGZ"), Key:"x", Format:"oci-archive", Name:"n"},
  {Path: os.Getenv("T_STORE"), Key:os.Getenv("T_ID"), Format:"containers-storage", Name:"n"},
 } {
  i, err := Open(context.Background(), in)
  if err != nil { t.Error(err); continue }
  c, err := i.Config(context.Background())
  fmt.Println(in.Format, len(c), err, len(i.Manifest().Layers), i.Digest())
  for n := range i.Manifest().Layers { r, err := i.Layer(context.Background(), n); if err!=nil {t.Fatal(err)}; k, err := io.Copy(io.Discard, r); fmt.Println(n,k,err, i.Manifest().Layers[n].Size); r.Close() }
  fmt.Println(i.Close())
 }
}
