import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/** Writes to etcd with jetcd, one write after the other, and prints what became of each: as ../go does. */
public final class Probe {
    /** Nanoseconds between the beginnings of two writes. */
    private static final long PACE = TimeUnit.MILLISECONDS.toNanos(10);
    /** Seconds that a write may take. */
    private static final long DEADLINE = 1;
    /** Keys that are written in turn: what is stored stays small. */
    private static final int KEYS = 128;
    private static final int MOST_ERROR = 200;

    private Probe() {}

    public static void main(String[] args) throws InterruptedException {
        if (args.length != 2 || !args[0].equals("jetcd")) {
            System.err.println("usage: Probe jetcd HOST:PORT");
            System.exit(2);
        }
        try (Client client = Client.builder().endpoints("http://" + args[1]).build()) {
            KV kv = client.getKVClient();
            long wall = TimeUnit.MILLISECONDS.toNanos(System.currentTimeMillis());
            long begun = System.nanoTime();
            System.out.println("begin " + wall);
            for (int number = 0; ; number++) {
                long start = System.nanoTime();
                String told = write(kv, number);
                System.out.println("write " + (System.nanoTime() - begun) + " " + told);
                long rest = start + PACE - System.nanoTime();
                if (rest > 0) {
                    TimeUnit.NANOSECONDS.sleep(rest);
                }
            }
        }
    }

    private static String write(KV kv, int number) throws InterruptedException {
        ByteSequence key = bytes("probe/jetcd/" + number % KEYS);
        try {
            kv.put(key, bytes(Integer.toString(number))).get(DEADLINE, TimeUnit.SECONDS);
            return "ok";
        } catch (InterruptedException stop) {
            throw stop;
        } catch (Exception error) {
            String why = String.join(" ", error.toString().split("\\s+"));
            return "failed " + why.substring(0, Math.min(why.length(), MOST_ERROR));
        }
    }

    private static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }
}
