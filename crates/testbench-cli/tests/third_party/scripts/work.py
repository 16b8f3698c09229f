# Reads, writes, renames, deletes and lists files, sleeps, prints the time, filters standard input.
import os
import sys
import time

text = open("in.txt").read()
print("read", len(text), text.splitlines()[0])
with open("made.txt", "w") as made:
    made.write(text.upper())
with open("made.txt", "a") as made:
    made.write("appended\n")
print("size", os.stat("made.txt").st_size)
os.rename("made.txt", "renamed.txt")
os.remove("delete-me.txt")
print("gone", not os.path.exists("made.txt"), not os.path.exists("delete-me.txt"))
os.makedirs("dir/sub", exist_ok=True)
with open("dir/sub/file.bin", "wb") as made:
    made.write(bytes(range(256)) * 1000)
os.symlink("sub/file.bin", "dir/link")
print("link", os.readlink("dir/link"), os.path.getsize("dir/link"))
for path, directories, files in sorted(os.walk(".")):
    print("walk", path, sorted(directories), sorted(files))
try:
    open("no/such/file")
except FileNotFoundError as error:
    print("missing", error.errno, error.strerror)
before, wall = time.monotonic_ns(), time.time_ns()
time.sleep(90.5)
print("slept", time.monotonic_ns() - before, time.time_ns() - wall)
print("time", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
print("random", os.urandom(8).hex())
for line in sys.stdin:
    print("stdin", line.rstrip("\n"))
sys.exit(int(sys.argv[1]))
