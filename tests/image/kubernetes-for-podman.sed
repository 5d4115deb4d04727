# Makes of docs/kubernetes.yaml what `podman kube play` of Podman 4.3 runs: it knows no native sidecars, so the VPN becomes
# a container like the other one. The rest is the test's world; words in @ are filled in by the chapter.
/^      containers:$/d
/^          restartPolicy: Always$/d
/^      initContainers:$/c\
      dnsConfig:\
        nameservers: ["@NAMESERVER@"]\
      containers:
s/image: .*/image: "@IMAGE@"/
s/value: swiss$/value: @LOCATION@/
/^            - name: LOC$/i\
            - name: SSL_CERT_FILE\
              value: /web-authorities.pem
/^            - name: pia-data$/i\
            - name: web-authorities\
              mountPath: /web-authorities.pem\
            - name: tun\
              mountPath: /dev/net/tun
/^      volumes:$/a\
        - name: web-authorities\
          hostPath: {path: "@AUTHORITIES@", type: File}\
        - name: tun\
          hostPath: {path: /dev/net/tun, type: CharDevice}
