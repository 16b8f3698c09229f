# Reads, writes, renames, deletes and lists files, sleeps, prints the time, filters standard input.
text = File.read("in.txt")
puts "read #{text.size} #{text.lines.first.chomp}"
File.write("made.txt", text.upcase)
File.open("made.txt", "a") { |made| made.puts "appended" }
puts "size #{File.size("made.txt")}"
File.rename("made.txt", "renamed.txt")
File.delete("delete-me.txt")
puts "gone #{!File.exist?("made.txt")} #{!File.exist?("delete-me.txt")}"
Dir.mkdir("dir")
Dir.mkdir("dir/sub")
File.binwrite("dir/sub/file.bin", (0..255).to_a.pack("C*") * 1000)
File.symlink("sub/file.bin", "dir/link")
puts "link #{File.readlink("dir/link")} #{File.size("dir/link")}"
[".", "dir", "dir/sub"].each { |path| puts "list #{path} #{Dir.children(path).sort.inspect}" }
begin
  File.read("no/such/file")
rescue SystemCallError => error
  puts "missing #{error.class}"
end
before = Process.clock_gettime(Process::CLOCK_MONOTONIC)
sleep 90.5
puts "slept #{(Process.clock_gettime(Process::CLOCK_MONOTONIC) - before).round}"
puts "time #{Time.now.utc.strftime("%Y-%m-%dT%H:%M:%SZ")}"
$stdin.each_line { |line| puts "stdin #{line.chomp}" }
exit ARGV[0].to_i
