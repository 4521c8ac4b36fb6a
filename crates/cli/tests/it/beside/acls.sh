cat > a.pl <<'X'
my $def = pack('V(vvl)*', 2, 1,7,-1, 2,7,1000, 2,5,1001, 4,5,-1, 8,6,2000, 16,7,-1, 32,0,-1); my $acc=pack('V(vvl)*', 2, 1,6,-1, 2,6,1000, 4,4,-1, 16,6,-1, 32,4,-1);
sub set { no warnings; my($p,$n,$v)=("$_[0]","$_[1]","$_[2]"); syscall(`uname -m`=~/x86_64/?188:5,$p,$n,$v,length $v,0)==0 or die "$p $!" }
set($_,'system.posix_acl_default',$def) for 'l/ld','l/md','u/md'; set('l/lf','system.posix_acl_access',$acc); set('l/mf','system.posix_acl_access',$acc);
X
umask 022; mkdir l/ld l/md u/md u/ud l/wd l/st; chmod 1777 l/st; echo x > l/st/f; for d in ld md; do for n in 1 2 3 4 5; do echo x > l/$d/w$n; done; done; for f in lf mf lf2 ro no plain k k2; do echo l > l/$f; done; chmod 644 l/ro; chmod 0 l/no; echo x > l/md/in; ln -s lf l/sl; chown 1000 l/k2; perl a.pl
