#!/bin/sh
# Turn a machine with Debian 12 into a cluster of one node, to try a sweep before it runs on a real cluster. As root:
#
#     sh examples/slurm/one_node.sh
#
# It installs Slurm 22.05 from the distribution, writes /etc/slurm/slurm.conf and starts the daemons.
set -eu
apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
cat > /etc/slurm/slurm.conf <<END
ClusterName=one
SlurmctldHost=$(hostname -s)
SlurmUser=root
AuthType=auth/munge
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
NodeName=$(hostname -s) CPUs=$(nproc)
PartitionName=main Nodes=ALL Default=YES State=UP
END
mkdir -p /run/munge /var/spool/slurmctld /var/spool/slurmd
chown munge: /run/munge
su munge -s /bin/sh -c munged
slurmctld
slurmd
sinfo
