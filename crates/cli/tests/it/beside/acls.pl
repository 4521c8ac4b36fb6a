# ACLs: inherited, copied up, changed, and what they let whom do.
sub acl { pack('V(vvl)*', 2, @_) }
my $def = acl(1,7,-1, 2,7,1000, 2,5,1001, 4,5,-1, 8,6,2000, 16,7,-1, 32,0,-1);
my $acc = acl(1,6,-1, 2,6,1000, 4,4,-1, 16,6,-1, 32,4,-1);
sub show { for my $p (@_) { my @s=lstat $p or do { print "$p: ",errno(),"\n"; next };
printf "%s: %o %d:%d", $p, @s[2,4,5];
for my $n ('access','default') { my $b="\0"x200;
my $x="system.posix_acl_$n";
my $l=sys('lgetxattr',$p,$x,$b,200);
print " $n=", $l<0?errno():join(',',map{sprintf '%d:%o:%d',@$_} do { my @v=unpack('x4(vvl)*',substr($b,0,$l)); my @r;
    push @r,[splice @v,0,3] while @v; @r }) }
print "\n" } }
for my $d (qw(ld md ud wd)) { deed "set default $d", sub { setx("m/$d",'system.posix_acl_default',$def)
    } unless $d eq 'ld' || $d eq 'md'; }
sub both { my ($d,$tag)=@_; my @n;
 for my $um (0,022,077) { umask $um;
my $t="$d/$tag$um"; opened("$t.f",O_CREAT|O_WRONLY,0666);
mkdir "$t.d",0777;
mkdir "$t.d/sub",0777; opened("$t.d/sub/f",O_CREAT|O_WRONLY,0777); symlink 'x',"$t.l"; POSIX::mkfifo("$t.p",0666);
    system('mknod','-m','0640',"$t.c",'c','1','3');
my $tf=opened($d,O_RDWR|020200000,0666);
my $p="/proc/self/fd/".fileno $tf; sys('linkat',-100,$p,-100,"$t.t",0x400);
    push @n,map{"$t.$_"}qw(f d d/sub d/sub/f l p c t); }
show(@n) }
show(map{"m/$_"}qw(ld md ud wd lf mf));
for my $d (qw(ld md ud wd)) { both("m/$d",'a') }
# over whiteouts
for my $d (qw(ld md)) { for my $um (0,077) { umask $um;
for my $n (qw(w1 w2 w3 w4 w5)) { unlink "m/$d/$n" or rmdir "m/$d/$n" } opened("m/$d/w1",O_CREAT|O_WRONLY,0666);
mkdir "m/$d/w2",0777; POSIX::mkfifo("m/$d/w3",0666); symlink 'x',"m/$d/w4"; link "m/$d/w1","m/$d/w5";
show(map{"m/$d/w$_"}1..5) } }
umask 022;
# copy up with ACLs
deed 'chmod lf', sub { chmod 0640,'m/lf' };
show('m/lf','u/lf'); put('m/mf',O_WRONLY|O_APPEND,'x');
show('m/mf','u/mf');
deed 'chown mf', sub { chown 5,6,'m/mf' };
show('m/mf');
deed 'set acc', sub { setx('m/plain','system.posix_acl_access',$acc) };
show('m/plain','u/plain');
deed 'chmod', sub { chmod 0600,'m/plain' };
show('m/plain');
deed 'remove', sub { my $p='m/plain'; sys('removexattr',$p,'system.posix_acl_access')};
show('m/plain');
deed 'remove again', sub { my $p='m/plain'; sys('removexattr',$p,'system.posix_acl_access')};
deed 'trivial', sub { setx('m/plain','system.posix_acl_access',acl(1,6,-1,4,4,-1,32,4,-1)) };
show('m/plain');
deed 'default on file', sub { setx('m/plain','system.posix_acl_default',$def) };
deed 'bad', sub { setx('m/plain','system.posix_acl_access','xxxx') };
deed 'bad order', sub { setx('m/plain','system.posix_acl_access',acl(32,4,-1,1,6,-1,4,4,-1)) };
deed 'no mask', sub { setx('m/plain','system.posix_acl_access',acl(1,6,-1,2,4,1000,4,4,-1,32,4,-1)) };
deed 'acl on link', sub { my $p='m/sl'; sys('lsetxattr',$p,'system.posix_acl_access',$acc,length $acc,0)};
deed 'empty', sub { setx('m/plain','system.posix_acl_access','') };
deed 'empty default', sub { setx('m/ud','system.posix_acl_default','') };
show('m/ud');
# setgid and rename
mkdir 'm/sg';
chown 0,3000,'m/sg';
chmod 02775,'m/sg'; setx('m/sg','system.posix_acl_default',$def);
both('m/sg','g');
deed 'rename keeps', sub { rename 'm/sg/g0.f','m/plainf' };
show('m/plainf');
deed 'rename in', sub { rename 'm/plain','m/sg/plain' };
show('m/sg/plain');
# setgid taken by who is not of the group
{ my $b=$acc;
chown 1000,3000,'m/k';
chmod 02755,'m/k';
if(!fork){ $(=1000; $)='1000 1000'; $<=$>=1000;
deed 'acl takes setgid', sub { setx('m/k','system.posix_acl_access',$acc) };
deed 'chmod setgid', sub { chmod 02755,'m/k2' }; POSIX::_exit(0)}
wait; show('m/k','m/k2'); }
# as others
for my $u ([1000,1000],[1001,1001],[2001,2000],[4000,4000]) { if(!fork){ $(=$u->[1]; $)="$u->[1] $u->[1]";
    $<=$>=$u->[0];
for my $d (qw(ld md ud wd sg)) { deed "$u->[0] creates in $d", sub { opened("m/$d/by$u->[0]",O_CREAT|O_WRONLY,0666) };
deed "$u->[0] lists $d", sub { opendir(my $h,"m/$d") };
deed "$u->[0] access $d", sub { my $p="m/$d"; sys('faccessat2',-100,$p,7,0x200) } }
for my $f (qw(lf mf m/x lf2 ro no)) { for my $a ([4,O_RDONLY],[2,O_WRONLY],[1,O_RDWR]) { deed "$u->[0]
    access $f $a->[0]", sub { my $p="m/$f"; sys('faccessat2',-100,$p,$a->[0],0x200) };
deed "$u->[0] open $f $a->[0]", sub { opened("m/$f",$a->[1]) } } }
deed "$u->[0] unlinks", sub { unlink "m/md/in" };
deed "$u->[0] sticky", sub { unlink 'm/st/f' };
deed "$u->[0] sticky rename", sub { rename 'm/st/f','m/st/g' };
deed "$u->[0] chmods", sub { chmod 0777,'m/lf2' };
deed "$u->[0] chowns", sub { chown $u->[0],-1,'m/lf2' };
deed "$u->[0] trusted", sub { setx('m/lf2','trusted.x','v') };
deed "$u->[0] link", sub { link 'm/lf2',"m/st/l$u->[0]" }; POSIX::_exit(0)}
wait; show(map{"m/$_/by$u->[0]"}qw(ld md ud wd sg)); }
