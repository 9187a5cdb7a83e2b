package featurestore;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.attribute.PosixFilePermissions;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;

/**
 * The files of this machine, for Hadoop, through which Spark and Flink write Iceberg tables.
 *
 * <p>Hadoop's own, where its native library is missing, starts a process `chmod` for every file it makes, and makes a
 * second file of checksums beside each: half the time of a run that writes many small files. Parquet has checksums.
 */
public final class LocalFiles extends LocalFileSystem {
    public LocalFiles() {
        super(new WithoutProcesses());
        setWriteChecksum(false);
    }

    private static final class WithoutProcesses extends RawLocalFileSystem {
        @Override
        public void setPermission(Path path, FsPermission permission) throws IOException {
            String letters = permission.getUserAction().SYMBOL
                    + permission.getGroupAction().SYMBOL
                    + permission.getOtherAction().SYMBOL;
            Files.setPosixFilePermissions(pathToFile(path).toPath(), PosixFilePermissions.fromString(letters));
        }
    }
}
