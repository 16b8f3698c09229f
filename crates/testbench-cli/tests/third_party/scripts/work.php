<?php
// Reads, writes, renames, deletes and lists files, sleeps, prints the time, filters standard input.
$text = file_get_contents("in.txt");
echo "read ", strlen($text), " ", strtok($text, "\n"), "\n";
file_put_contents("made.txt", strtoupper($text));
file_put_contents("made.txt", "appended\n", FILE_APPEND);
echo "size ", filesize("made.txt"), "\n";
rename("made.txt", "renamed.txt");
unlink("delete-me.txt");
clearstatcache();
echo "gone ", var_export(!file_exists("made.txt"), true), " ", var_export(!file_exists("delete-me.txt"), true), "\n";
mkdir("dir");
mkdir("dir/sub");
file_put_contents("dir/sub/file.bin", str_repeat(implode(array_map("chr", range(0, 255))), 1000));
foreach ([".", "dir", "dir/sub"] as $path) {
    echo "list $path ", implode(" ", array_diff(scandir($path), [".", ".."])), "\n";
}
echo "missing ", var_export(@file_get_contents("no/such/file"), true), "\n";
$wall = microtime(true);
usleep(90500000);
printf("slept %.3f\n", microtime(true) - $wall);
echo "time ", gmdate("Y-m-d\TH:i:s\Z"), "\n";
// php-cgi reads standard input as a request's body, as long as CONTENT_LENGTH says.
foreach (explode("\n", trim(file_get_contents("php://input"))) as $line) {
    echo "stdin $line\n";
}
exit((int) $_SERVER["QUERY_STRING"]);
