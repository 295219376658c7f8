import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The work that `caudal bench engine` measures, as a Kafka Streams application with exactly_once_v2: read a key's counter,
 * write it, emit the value. It is driven by lines on standard input ("run" with settings as a URL query, "stop") and answers
 * by lines on standard output, and it serves several runs, one after the other, so that the virtual machine is warm. What
 * can be tuned without giving up the guarantee is: bytes as serdes, a store in memory, large polls and batches.
 */
public final class Counter {
  private static final String STORE = "table";

  private static final class Count implements Processor<Bytes, byte[], Bytes, byte[]> {
    private ProcessorContext<Bytes, byte[]> context;
    private KeyValueStore<Bytes, byte[]> counters;

    @Override
    public void init(ProcessorContext<Bytes, byte[]> context) {
      this.context = context;
      this.counters = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<Bytes, byte[]> record) {
      byte[] stored = counters.get(record.key());
      long n = stored == null ? 0 : ByteBuffer.wrap(stored).getLong();
      counters.put(record.key(), ByteBuffer.allocate(Long.BYTES).putLong(n + 1).array());
      context.forward(record);
    }
  }

  private static Topology topology(Map<String, String> work) {
    boolean memory = !"rocksdb".equals(work.get("store"));
    StoreBuilder<KeyValueStore<Bytes, byte[]>> store = Stores.keyValueStoreBuilder(
        memory ? Stores.inMemoryKeyValueStore(STORE) : Stores.persistentKeyValueStore(STORE), Serdes.Bytes(), Serdes.ByteArray());
    store = "0".equals(work.get("cache")) ? store.withCachingDisabled() : store.withCachingEnabled();
    return new Topology()
        .addSource("in", Serdes.Bytes().deserializer(), Serdes.ByteArray().deserializer(), work.get("input"))
        .addProcessor("count", Count::new, "in")
        .addStateStore(store, "count")
        .addSink("out", work.get("group") + "-out", Serdes.Bytes().serializer(), Serdes.ByteArray().serializer(), "count");
  }

  private static Properties settings(Map<String, String> work) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, work.get("group"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, work.get("brokers"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, work.get("dir"));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, work.get("commit_ms"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, work.get("threads"));
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, work.get("cache"));
    p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), work.get("compression"));
    return p;
  }

  private static synchronized void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private static Map<String, String> parse(String query) {
    Map<String, String> fields = new HashMap<>();
    for (String field : query.split("&")) {
      int at = field.indexOf('=');
      fields.put(field.substring(0, at), URLDecoder.decode(field.substring(at + 1), StandardCharsets.UTF_8));
    }
    return fields;
  }

  private static KafkaStreams run(Map<String, String> work) {
    KafkaStreams streams = new KafkaStreams(topology(work), settings(work));
    streams.setUncaughtExceptionHandler(e -> {
      say("failed " + String.valueOf(e).replace('\n', ' '));
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING) {
        say("ready");
      }
    });
    streams.start();
    return streams;
  }

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    KafkaStreams streams = null;
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      if (line.startsWith("run ")) {
        streams = run(parse(line.substring(4)));
      } else if (line.equals("stop") && streams != null) {
        boolean ended = streams.close(Duration.ofSeconds(30));
        say(ended ? "stopped" : "failed it does not stop");
        streams = null;
      }
    }
    Runtime.getRuntime().halt(0); // the parent has gone
  }
}
