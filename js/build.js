// Makes dist, the published form: modules as they are, types, one minified
// module for a script tag, the package's tarball, and the checksums of all.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const dist = resolve(process.argv[2] ?? "dist");
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
execFileSync("node_modules/.bin/tsc", ["-p", ".", "--outDir", dist], { stdio: "inherit" });
for (const name of ["plane.js", "server.js"]) copyFileSync(`src/${name}`, `${dist}/${name}`);
copyFileSync("README.md", `${dist}/README.md`);
copyFileSync("../LICENSE", `${dist}/LICENSE`);
const { scripts, devDependencies, ...published } = JSON.parse(readFileSync("package.json", "utf8"));
writeFileSync(`${dist}/package.json`, JSON.stringify(published, null, 2) + "\n");
await build({ entryPoints: ["src/plane.js"], outfile: `${dist}/plane.min.js`, minify: true, format: "esm", target: "es2022", logLevel: "warning" });
execFileSync("npm", ["pack", "--silent"], { cwd: dist, stdio: ["ignore", "ignore", "inherit"] });

const files = readdirSync(dist).sort();
const sums = files.map((name) => `${createHash("sha256").update(readFileSync(`${dist}/${name}`)).digest("hex")}  ${name}\n`);
writeFileSync(`${dist}/SHA256SUMS`, sums.join(""));
for (const name of files) {
  const zipped = /\.js$/.test(name) ? `, ${gzipSync(readFileSync(`${dist}/${name}`)).length} gzipped` : "";
  console.log(`${name}: ${statSync(`${dist}/${name}`).size} bytes${zipped}`);
}
